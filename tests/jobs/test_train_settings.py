"""What a user can set in training, each at work in a small one; in this process, without Ray."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from going_on_targets import Told
from safetensors.numpy import load_file
from training_rows import FAMILY, TASK, described, learnable, settings, without_dropout, write_encoded

from jobs.training import model
from jobs.training.augment import Augmenter
from jobs.training.evaluate import evaluate
from jobs.training.learn import learn
from jobs.training.plan import Outcome, Plan, check_contrast, choose_metric
from jobs.training.settings import Augment, Train
from pipelines import Task, task
from pipelines.checkpoint import resolve
from stages.errors import UsageError
from stages.examples import Example

CPU = torch.device("cpu")
Learn = Callable[..., Outcome]


@pytest.fixture
def plain(tiny, tmp_path: Path) -> Path:
    return without_dropout(tiny(FAMILY, TASK), tmp_path / "plain")


@pytest.fixture
def learned(plain: Path, tmp_path: Path) -> Learn:
    """``learned(epochs=1, …)`` trains on 24 pages, and keeps what it did in ``tmp_path/out``."""

    def train(evaluation: int = 0, points: object = None, **changes: object) -> Outcome:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        write_encoded(described(plain), learnable(24, 0), out)
        how = settings(**{"epochs": 1, "token_budget": 64, **changes})
        rows = [
            {**row, "uri": "e", "source": "1", "page": 1, "record": n} for n, row in enumerate(learnable(evaluation, 1))
        ]
        plan = Plan(task=described(plain), settings=how, output=str(out), evaluation=rows, points=points)  # type: ignore[arg-type]
        outcome = learn(plan, CPU)
        assert outcome is not None
        return outcome

    return train


def weights(tmp_path: Path) -> dict[str, np.ndarray]:
    return load_file(tmp_path / "out" / "model" / "model.safetensors")


# ---- steps and rates


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [("linear", lambda s: 1 - (s - 2) / 8), ("constant", lambda s: 1.0)],
    ids=["linear", "constant"],
)
def test_the_learning_rate_rises_and_follows_its_schedule(learned: Learn, schedule: str, ends) -> None:
    told = Told()
    learned(points=told, max_steps=10, schedule=schedule, warmup=0.2, learning_rate=1e-3)
    rates = [told.of("learning_rate")[step] for step in range(1, 11)]
    wanted = [0.0, 0.5, *(ends(step) for step in range(2, 10))]
    np.testing.assert_allclose(rates, [1e-3 * one for one in wanted], atol=1e-9)


def test_a_cosine_lies_above_the_line_and_falls_below_it(learned: Learn) -> None:
    told = Told()
    learned(points=told, max_steps=10, schedule="cosine", warmup=0, learning_rate=1e-3)
    rates = told.of("learning_rate")
    assert rates[3] > 0.8e-3
    assert rates[9] < 0.2e-3


def test_rates_by_pattern_and_frozen_parts(learned: Learn, plain: Path, tmp_path: Path) -> None:
    learned(max_steps=3, frozen=("word_embeddings",), rates={"[xyhw]_position": 0.0, "head": 10})
    before, after = load_file(plain / "model.safetensors"), weights(tmp_path)
    moved = {name: float(np.abs(after[name] - before[name]).max()) for name in before}
    held = {name for name in moved if re.search("word_embeddings|[xyhw]_position", name)}
    assert {name for name in held if moved[name]} == set()
    assert moved["layoutlm.embeddings.position_embeddings.weight"] > 0
    of_head = max(one for name, one in moved.items() if name.startswith("classifier"))
    of_body = max(one for name, one in moved.items() if ".layer." in name)
    assert of_head > 5 * of_body > 0


def test_groups_hold_every_trained_parameter_once(plain: Path) -> None:
    one = described(plain)
    how = Train(learning_rate=1.0, weight_decay=0.1, rates={"head": 10, "layer.1": 0.5, "bias": 2})
    found = model.groups(model.load(one, how, CPU), how, {"classifier.weight"})
    assert sum(len(group["params"]) for group in found) == len(list(one.model.parameters()))
    assert [(group["lr"], group["weight_decay"]) for group in found] == [
        (1.0, 0.0),
        (0.5, 0.0),
        (2.0, 0.0),
        (10.0, 0.1),
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rates": {"nothing": 2.0}}, "train.rates: 'nothing' fits no parameter; there are layoutlm"),
        ({"frozen": ("nothing",)}, "train.frozen: 'nothing' fits no parameter"),
        ({"frozen": ("",)}, "train.frozen leaves no parameter to train"),
    ],
)
def test_patterns_that_cannot_be_meant(plain: Path, wrong: dict[str, object], told: str) -> None:
    one = described(plain)
    one.load_model(torch.device("meta"), torch.float32)
    with pytest.raises(UsageError, match=told):
        model.check(one.model, Train(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"accumulate": 2}, "train.accumulate: features sets the rows of a step against each other, .* raise"),
        ({"min_workers": 1}, "train.min_workers: features sets .*, and fewer workers cannot do it"),
    ],
)
def test_a_step_of_contrasts_is_one_batch_a_worker(tiny, how: dict[str, int], told: str) -> None:
    contrasting = task("retribert", "features")(resolve(str(tiny("retribert", "features"))))
    check_contrast(contrasting, Train())
    check_contrast(contrasting, Train(), begun=2, workers=2)
    with pytest.raises(UsageError, match=told):
        check_contrast(contrasting, Train(**how))
    with pytest.raises(UsageError, match="this training began with 2 workers: go on with as many"):
        check_contrast(contrasting, Train(), begun=2, workers=1)


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        (Train, {"epochs": 0}, "train.epochs must be above 0, not 0"),
        (Train, {"patience": -1}, "train.patience must be 0 or more"),
        (Train, {"left_out": 1.0}, "train.left_out must be from 0 to below 1"),
        (Train, {"frozen": ("(",)}, r"the pattern '\(' is no regular expression"),
        (Train, {"rates": {"head": -1.0}}, "train.rates: the factor of 'head' must be 0 or more"),
        (Augment, {"word_dropout": 1.5}, "augment.word_dropout must be from 0 to below 1"),
        (Augment, {"box_jitter": -1}, "augment.box_jitter must be 0 or more"),
    ],
)
def test_settings_out_of_bounds(kind: type, wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kind(**wrong)


def test_less_memory_or_bits_for_the_same_training(learned: Learn, tmp_path: Path) -> None:
    plain = learned(max_steps=6)
    kept = weights(tmp_path)
    assert learned(max_steps=6, gradient_checkpointing=True).loss == pytest.approx(plain.loss, rel=1e-6)
    assert all(np.allclose(one, kept[name], atol=1e-6) for name, one in weights(tmp_path).items())
    short = learned(max_steps=6, precision="bfloat16")
    assert short.loss == pytest.approx(plain.loss, rel=0.05)
    assert short.loss != plain.loss
    assert weights(tmp_path)["classifier.weight"].dtype == np.float32


# ---- evaluation


def test_evaluations_choose_the_model_and_stop_early(learned: Learn) -> None:
    told = Told()
    done = learned(evaluation=8, points=told, epochs=50, evaluate_steps=2, patience=2, learning_rate=1e-9, warmup=0)
    evaluated = told.of("eval_entity_f1")
    assert list(evaluated) == [2, 4, 6]  # the first is the best; two more are not better
    assert done.steps == 6
    assert done.metrics["entity_f1"] == evaluated[2]


def test_another_metric_chooses(learned: Learn, tmp_path: Path) -> None:
    told = Told()
    done = learned(
        evaluation=8, points=told, max_steps=12, evaluate_steps=1, metric="word_accuracy", learning_rate=0.02
    )
    accuracies = told.of("eval_word_accuracy")
    assert done.metrics["word_accuracy"] == max(accuracies.values()) > min(accuracies.values())
    again = evaluate(described(tmp_path / "out" / "model"), tmp_path / "out" / "model", _rows(learnable(8, 1))).metrics
    assert again["word_accuracy"] == done.metrics["word_accuracy"]


def test_a_metric_that_does_not_exist(plain: Path) -> None:
    one = described(plain)
    one.load_processor()
    told = r"train.metric: token-classification is not judged by 'rouge'; there are: entity_f1, entity_precision"
    with pytest.raises(UsageError, match=told):
        choose_metric(one, "rouge")


@pytest.mark.parametrize(
    ("name", "row", "metric"),
    [
        ("masked-lm", {"text": "the dog in the street is a good dog"}, "perplexity"),
        ("pretraining", {"text": "the dog is", "text_pair": "in the street", "next_sentence": True}, "perplexity"),
    ],
)
def test_perplexity_is_judged_by_the_loss(tiny, name: str, row: dict[str, object], metric: str) -> None:
    folder = tiny("bert", name)
    rows = _rows([row] * 5)
    found = evaluate(task("bert", name)(resolve(str(folder))), folder, rows).metrics
    assert found[metric] > 1
    assert found == evaluate(task("bert", name)(resolve(str(folder))), folder, rows).metrics
    assert ("next_sentence_accuracy" in found) == (name == "pretraining")


def test_a_regression_is_judged_by_its_error(tiny, tmp_path: Path) -> None:
    folder = tmp_path / "regression"
    shutil.copytree(tiny("bert", "text-classification"), folder)
    config = json.loads((folder / "config.json").read_text())
    names = {"id2label": {"0": "score"}, "label2id": {"score": 0}, "problem_type": "regression"}
    (folder / "config.json").write_text(json.dumps({**config, **names}))
    kind = task("bert", "text-classification")
    one: Task = kind(resolve(str(folder)), kind.options_type(allow_random_head=True))
    one.load_processor()
    assert choose_metric(one, "").name == "mean_squared_error"
    assert not choose_metric(one, "").greater_is_better
    assert one.gold_columns() == ("score",)
    found = evaluate(one, folder, _rows([{"text": "good", "score": 1.0}, {"text": "bad dog", "score": -1.0}])).metrics
    assert {"mean_squared_error", "r2", "pearson"} < set(found)


def _rows(rows):
    return [{**row, "uri": "e", "source": "1", "page": 1, "record": n} for n, row in enumerate(rows)]


# ---- not a number


def test_a_loss_that_is_no_number_ends_the_training(learned: Learn, tmp_path: Path) -> None:
    done = learned(evaluation=4, evaluate_steps=1, max_steps=8, learning_rate=1e30, warmup=0.25, max_grad_norm=0)
    assert 1 < done.not_finite_at <= 8
    assert math.isfinite(done.loss)
    assert all(np.isfinite(one).all() for one in weights(tmp_path).values())


# ---- augmentation


def boxed(count: int) -> Example:
    ids = np.array([2, *range(10, 10 + count), 3], np.int32)
    boxes = np.array([[0] * 4, *([100 + 10 * n, 300, 108 + 10 * n, 320] for n in range(count)), [1000] * 4], np.int16)
    boxes[3] = boxes[2]  # two sub-words of one word
    return Example(arrays={"input_ids": ids, "bbox": boxes, "labels": ids.copy()}, length=len(ids))


def changed(example: Example, seed: int = 0, **how: float) -> Example:
    return Augmenter(settings=Augment(**how), special={2, 3}, hidden=4)(example, np.random.default_rng(seed))


def test_boxes_move_within_bounds_and_stay_boxes() -> None:
    before = boxed(30)
    after = changed(before, box_jitter=20).arrays["bbox"].astype(int)
    moved = np.abs(after - before.arrays["bbox"])
    assert moved[[0, -1]].max() == 0, "special tokens stand where they stood"
    assert 10 < moved.max() <= 30  # sides may swap
    assert (after[:, :2] <= after[:, 2:]).all()
    assert (after[2] == after[3]).all(), "sub-words of one word stay together"
    assert after.min() >= 0
    assert after.max() <= 1000
    assert changed(before, box_jitter=20).arrays["bbox"].dtype == np.int16


def test_a_page_moves_and_grows_as_one() -> None:
    before = boxed(30)
    shifted = changed(before, page_shift=50).arrays["bbox"].astype(int)[1:-1] - before.arrays["bbox"][1:-1]
    assert len({tuple(row) for row in shifted}) == 1
    assert shifted.any()
    grown = changed(before, page_scale=0.2).arrays["bbox"].astype(float)[1:-1]
    widths = (grown[:, 2] - grown[:, 0]) / 8
    assert 0.8 <= widths.mean() <= 1.2
    assert abs(widths.mean() - 1) > 0.01


def test_words_are_dropped_but_not_their_labels() -> None:
    before = boxed(400)
    after = changed(before, word_dropout=0.3).arrays
    dropped = after["input_ids"] == 4
    assert 0.2 < dropped.mean() < 0.4
    assert not dropped[[0, -1]].any()
    assert (after["labels"] == before.arrays["labels"]).all()
    assert (after["input_ids"][~dropped] == before.arrays["input_ids"][~dropped]).all()


def filmed(frames: int, side: int) -> Example:
    """A clip whose columns of pixels have numbers, other ones in each frame."""
    columns = np.broadcast_to(np.arange(side, dtype=np.uint8)[None, None, :, None], (frames, side, side, 3))
    clip = columns + 50 * np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return Example(arrays={"pixels": clip.reshape(-1), "size": np.array([frames, side, side], np.int32)}, length=9)


def test_a_clip_is_cut_and_mirrored_all_frames_alike() -> None:
    before = filmed(3, 40)
    whole = before.arrays["pixels"].reshape(3, 40, 40, 3).astype(int)
    ways = [
        changed(before, seed, image_crop=0.5, image_flip=0.5).arrays["pixels"].reshape(3, 40, 40, 3).astype(int)
        for seed in range(20)
    ]
    for after in ways:
        assert np.abs(after - after[0] - 50 * np.arange(3)[:, None, None, None]).max() <= 1, "frames alike"
        assert after.min() >= 0
        assert after[0].max() <= 39
    slopes = [np.diff(after[0, 0, :, 0].astype(float)).mean() for after in ways]
    assert min(slopes) < -0.5, "mirrored"
    assert max(slopes) > 0.5, "not mirrored"
    assert len({round(abs(slope), 2) for slope in slopes}) > 5, "cut to parts of many sizes"
    assert all(0.45 < abs(slope) <= 1 for slope in slopes)
    assert (changed(before, image_flip=0.99).arrays["pixels"].reshape(3, 40, 40, 3) == whole[:, :, ::-1]).all()
    assert changed(before).arrays["pixels"].tobytes() == before.arrays["pixels"].tobytes()


def test_a_picture_with_words_has_both_changed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, 30 * 20 * 3, np.uint8)
    words = {"input_ids": np.arange(10, 60, dtype=np.int32)}
    before = Example(arrays={"pixels": pixels, "size": np.array([30, 20], np.int32), **words}, length=7)
    after = changed(before, image_crop=0.3, word_dropout=0.5).arrays
    assert after["pixels"].shape == pixels.shape
    assert after["pixels"].dtype == np.uint8
    assert (after["pixels"] != pixels).any()
    assert (after["input_ids"] == 4).any()


def test_chance_comes_from_the_seed_alone() -> None:
    one, same, other = (changed(boxed(30), seed, box_jitter=20, word_dropout=0.3).arrays for seed in (1, 1, 2))
    assert all((one[name] == same[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)
    assert not np.array_equal(*(changed(filmed(2, 30), seed, image_crop=0.5).arrays["pixels"] for seed in (1, 2)))
    assert np.array_equal(*(changed(filmed(2, 30), 1, image_crop=0.5).arrays["pixels"] for _ in range(2)))
    assert changed(boxed(5)).arrays["bbox"].tolist() == boxed(5).arrays["bbox"].tolist()
