"""BERT's tasks in training: losses as sums over a global count, masking, gold answers, metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pipelines
from pipelines import Checkpoint, Task
from pipelines.contract.rows import gold_row, sample_rows
from stages.errors import RowError

TRAINED = ("masked-lm", "pretraining", "text-classification", "multiple-choice")


def labelled(task: Task, rows: list) -> list:
    """Examples as an epoch sees them."""
    out = []
    for seed, row in enumerate(rows):
        gold = gold_row(task, row, seed=seed)
        examples = task.encode_labels(gold, task.encode(gold))
        out += [task.vary(one, np.random.default_rng([seed, at])) for at, one in enumerate(examples)]
    return out


@pytest.fixture
def ready(tiny):
    def make(name: str) -> Task:
        folder = tiny("bert", name)
        task = pipelines.task("bert", name)(Checkpoint(ref=str(folder), path=str(folder), content=""))
        task.load_processor()
        task.load_model(torch.device("cpu"), torch.float32)
        return task

    return make


@pytest.mark.parametrize("name", TRAINED)
@torch.no_grad()
def test_loss_is_a_sum_over_the_global_count(ready, name):
    """Two half batches, each over the global count, add up to the whole batch."""
    task = ready(name)
    examples = labelled(task, sample_rows(type(task), sizes=(3, 9, 5, 12)))
    parts = [task.collate(half) for half in (examples[:2], examples[2:])]
    whole = join(parts, task)
    count = (whole["labels"] != -100).sum()
    losses = [float(task.loss(task.run(part), part["labels"], count)) for part in parts]
    together = float(task.loss(task.run(whole), whole["labels"], count))
    assert sum(losses) == pytest.approx(together, rel=1e-5)
    assert float(task.loss(task.run(whole), whole["labels"], None)) == pytest.approx(together, rel=1e-6)


def join(parts, task):
    """Batches, padded to one length, end to end."""
    values = {"input_ids": task.pad_id, "labels": -100}
    joined = {}
    for name in parts[0]:
        width = max(part[name].shape[-1] for part in parts)
        padded = [
            torch.nn.functional.pad(part[name], (0, width - part[name].shape[-1]), value=values.get(name, 0))
            for part in parts
        ]
        joined[name] = torch.cat(padded)
    return joined


@pytest.mark.parametrize("name", ["masked-lm", "text-classification"])
@torch.no_grad()
def test_loss_is_that_of_transformers(ready, name):
    task = ready(name)
    batch = task.collate(labelled(task, sample_rows(type(task), sizes=(3, 9, 5, 12))))
    labels = batch["labels"].flatten() if name == "text-classification" else batch["labels"]
    theirs = task.model(**{**batch, "labels": labels}).loss
    assert float(task.loss(task.run(batch), batch["labels"], None)) == pytest.approx(float(theirs), rel=1e-5)


@torch.no_grad()
def test_multiple_choice_loss_is_that_of_transformers(ready):
    task = ready("multiple-choice")
    row = {"text": "the dog", "choices": ["is red", "runs over the street", "no"]}
    rows = [{**row, "choice": 0}, {**row, "text": "a bird in the sky", "choice": 2}]
    examples = [one for row in rows for one in task.encode_labels(row, task.encode(row))]
    batch = task.collate(examples)
    theirs = task.model(
        **{name: tensor.reshape(2, 3, -1) for name, tensor in batch.items() if name != "labels"},
        labels=torch.tensor([0, 2]),
    ).loss
    assert float(task.loss(task.run(batch), batch["labels"], None)) == pytest.approx(float(theirs), rel=1e-5)


@torch.no_grad()
def test_pretraining_loss_is_that_of_transformers_where_rows_hide_as_many(ready):
    task = ready("pretraining")
    examples = labelled(task, sample_rows(type(task), sizes=(9, 9)))
    batch = dict(task.collate(examples))
    labels = batch["labels"]
    labels[:, 1:] = -100
    labels[:, 2:6] = batch["input_ids"][:, 2:6]  # four tokens of each
    hidden = labels.clone()
    hidden[:, 0] = -100
    theirs = task.model(
        **{name: tensor for name, tensor in batch.items() if name != "labels"},
        labels=hidden,
        next_sentence_label=labels[:, 0],
    ).loss
    assert float(task.loss(task.run(batch), labels, None)) == pytest.approx(float(theirs), rel=1e-5)


def test_training_hides_tokens_80_10_10_and_never_special_ones(ready):
    task = ready("masked-lm")
    row = {"text": "the dog in the street " * 10}
    examples = [one for _ in range(400) for one in task.encode_labels(row, task.encode(row))]
    random = np.random.default_rng(0)
    batch = task.collate([task.vary(one, random) for one in examples])
    original = torch.from_numpy(np.stack([one.arrays["input_ids"] for one in examples])).long()
    chosen = batch["labels"] != -100
    assert not chosen[:, 0].any()
    assert torch.equal(batch["labels"][chosen], original[chosen])
    assert torch.equal(batch["input_ids"][~chosen], original[~chosen])
    words = (original != task.tokenizer.cls_token_id) & (original != task.tokenizer.sep_token_id)
    assert float(chosen.sum() / words.sum()) == pytest.approx(0.15, abs=0.01)
    assert float((batch["input_ids"][chosen] == task.mask_id).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float((batch["input_ids"][chosen] == original[chosen]).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert chosen.any(dim=1).all(), "each example has something to learn"
    drawn = [task.vary(examples[0], np.random.default_rng(seed)).arrays["labels"].tolist() for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


@torch.no_grad()
def test_the_perplexity_of_pretraining_is_that_of_its_hidden_tokens(ready):
    task = ready("pretraining")
    batch = task.collate(labelled(task, sample_rows(type(task), sizes=(9, 20))))
    outputs = task.run(batch)
    hidden = batch["labels"].clone()
    hidden[:, 0] = -100
    wanted = torch.nn.functional.cross_entropy(outputs.prediction_logits.flatten(0, 1), hidden.flatten())
    summed, count = task.judged_loss(outputs, batch["labels"])
    assert count == (hidden != -100).sum()
    assert float(summed / count) == pytest.approx(float(wanted), rel=1e-5)


def test_perplexity_follows_from_the_loss(ready):
    assert ready("masked-lm").loss_metrics(np.log(7.0)) == {"perplexity": pytest.approx(7.0)}


@pytest.mark.parametrize(
    ("changes", "gold", "answers", "wanted"),
    [
        (
            {},
            [{"label": "positive"}, {"label": "0"}, {"label": 1}, {"label": "positive"}],
            [{"label": "positive"}, {"label": "negative"}, {"label": "positive"}, {"label": "positive"}],
            {"accuracy": 0.75, "f1": 0.6},
        ),
        (
            {"problem_type": "multi_label_classification"},
            [{"labels": ["positive", "neutral"]}, {"labels": []}],
            [
                {"scores": [{"label": "positive", "score": 0.9}, {"label": "neutral", "score": 0.4}]},
                {"scores": [{"label": "positive", "score": 0.2}]},
            ],
            {"accuracy": 0.5, "f1": pytest.approx(2 / 3)},
        ),
        (
            {"problem_type": "regression", "num_labels": 1},
            [{"score": 1.0}, {"score": 2.0}],
            [{"score": 1.0}, {"score": 3.0}],
            {"mean_squared_error": 0.5, "r2": -1.0, "pearson": pytest.approx(1.0)},
        ),
    ],
)
def test_classification_metrics(ready, changes, gold, answers, wanted):
    task = ready("text-classification")
    for name, value in changes.items():
        setattr(task.config, name, value)
    assert task.metrics(gold, answers) == wanted
    assert [metric.name for metric in task.judged_by()] == list(wanted)
    assert all(column in gold[0] for column in task.gold_columns())


def test_other_metrics(ready):
    assert ready("multiple-choice").metrics([{"choice": 1}, {"choice": 0}], [{"choice": 1}] * 2) == {"accuracy": 0.5}
    gold, answers = [{"next_sentence": True}] * 2, [{"next_sentence": True}, {"next_sentence": False}]
    assert ready("pretraining").metrics(gold, answers) == {"next_sentence_accuracy": 0.5}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("text-classification", {"label": "unknown"}, "knows no label 'unknown'; it has: negative, neutral, positive"),
        ("text-classification", {"label": None}, "knows no label None"),
        ("multiple-choice", {"choice": 2}, "column 'choice' must be from 0 to 1, not 2"),
        ("pretraining", {"next_sentence": None}, "needs true or false in column 'next_sentence'"),
    ],
)
def test_wrong_gold_is_named(ready, name, row, message):
    task = ready(name)
    row = {"text": "a [MASK]", "text_pair": "b", "choices": ["x", "y"], **row}
    with pytest.raises(RowError, match=message):
        task.encode_labels(row, task.encode(row))
