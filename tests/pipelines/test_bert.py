"""BERT's tasks on texts against transformers by hand: scores within 1e-4, text and labels exactly, however batched."""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from references_text import REFERENCES

import pipelines
from pipelines import Checkpoint, Task
from pipelines.contract.rows import sample_rows
from pipelines.rehearsal import rehearse
from stages.errors import CheckpointError, Code, Failure, UsageError
from stages.predict import Predictor
from stages.settings import Predict

FLOAT32 = Predict(dtype="float32", device="cpu")
CASES = [
    ("features", {}),
    ("features", {"pooling": "cls", "vectors": True}),
    ("features", {"pooling": "pooler", "normalize": True}),
    ("masked-lm", {}),
    ("masked-lm", {"top_k": 2, "targets": ("paris", "london", "dog")}),
    ("next-sentence", {}),
    ("pretraining", {}),
    ("causal-lm", {"max_new_tokens": 8}),
    ("causal-lm", {"max_new_tokens": 6, "num_beams": 3}),
    ("causal-lm", {"max_new_tokens": 0}),
    ("text-classification", {}),
    ("text-classification", {"top_k": 2}),
    ("multiple-choice", {}),
]


def load(name: str, folder: Path, **options) -> Task:
    kind = pipelines.task("bert", name)
    return kind(Checkpoint(ref=str(folder), path=str(folder), content=""), kind.options_type(**options))


def same(ours, theirs) -> bool:
    """Equal, numbers within 1e-4 of their size."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float):
        return ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    return ours == theirs


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_equal_to_transformers_however_batched(tiny, name, options):
    folder = tiny("bert", name)
    task = load(name, folder, **options)
    rows = sample_rows(type(task), sizes=(1, 3, 3, 9, 25, 60, 110))
    wanted = REFERENCES[name](folder, rows, **({"options": options} if options else {}))
    shuffled = random.Random(0).sample(range(len(rows)), len(rows))
    for budget in (1, 200, 5000):
        answers = Predictor(task, replace(FLOAT32, token_budget=budget)).open().predict([rows[i] for i in shuffled])
        for i, answer in zip(shuffled, answers, strict=True):
            if wanted[i] is None:
                assert isinstance(answer, Failure)
                assert answer.code == Code.ENCODE_FAILED
            else:
                assert same(answer, wanted[i]), (budget, rows[i])


def test_every_text_task_has_a_reference_here():
    theirs = {"token-classification", "question-answering"}  # tests of tasks in windows
    assert {task.name for task in pipelines.family("bert").tasks} - theirs == set(REFERENCES)


PROBLEMS = {
    "single_label_classification": 3,
    "multi_label_classification": 3,
    "regression": 1,
    None: 1,
}


def with_config(folder: Path, to: Path, model_class: str, **changes) -> Path:
    """A copy of a tiny checkpoint with another configuration and a head that fits it."""
    import transformers

    shutil.copytree(folder, to)
    config = transformers.AutoConfig.from_pretrained(folder, **changes)
    torch.manual_seed(1)
    getattr(transformers, model_class)(config).save_pretrained(to)
    return to


@pytest.mark.parametrize(("problem", "labels"), PROBLEMS.items())
def test_classification_follows_the_problem_type(tiny, tmp_path, problem, labels):
    folder = with_config(
        tiny("bert", "text-classification"),
        tmp_path / "model",
        "BertForSequenceClassification",
        problem_type=problem,
        num_labels=labels,
    )
    task = load("text-classification", folder)
    rows = sample_rows(type(task))
    answers = Predictor(task, FLOAT32).open().predict(rows)
    assert same(answers, REFERENCES["text-classification"](folder, rows))
    assert [answer["label"] is None for answer in answers] == [problem == "regression"] * len(rows)


def test_sampling_depends_on_the_row_alone(tiny):
    task = load("causal-lm", tiny("bert", "causal-lm"), do_sample=True, max_new_tokens=8, temperature=2.0)
    rows = sample_rows(type(task), sizes=(3, 3, 3, 5))
    twins = [rows[0], {**rows[0], "uri": "another"}]
    predictor = Predictor(task, FLOAT32).open()
    first = predictor.predict(rows)
    assert predictor.predict(rows[::-1])[::-1] == first
    one, other = predictor.predict(twins)
    assert one == first[0]
    assert one["generated_text"] != other["generated_text"]
    state = torch.get_rng_state()
    predictor.predict(rows)
    assert torch.equal(torch.get_rng_state(), state)
    again = load("causal-lm", tiny("bert", "causal-lm"), do_sample=True, max_new_tokens=8, temperature=2.0, seed=1)
    assert Predictor(again, FLOAT32).open().predict(rows) != first


# ---- bad input


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("text-classification", {"text": None}, "column 'text' holds no value"),
        ("text-classification", {"text": 3}, "column 'text' holds a int"),
        ("next-sentence", {"text": "a", "text_pair": None}, "column 'text_pair' holds no value"),
        ("masked-lm", {"text": "nothing hidden"}, r"holds no mask; write \[MASK\] into it"),
        ("masked-lm", {"text": "word " * 100 + "[MASK]"}, "1 of 1 masks lie beyond the 64 tokens"),
        ("multiple-choice", {"text": "a", "choices": []}, "column 'choices' must hold a list of one or more texts"),
        ("causal-lm", {"text": "the " * 40}, "the text has 42 tokens; .* leave 32"),
    ],
)
def test_a_row_that_cannot_be_encoded_fails_alone(tiny, name, row, message):
    task = load(name, tiny("bert", name))
    good = {"text": "the [MASK] cat", "text_pair": "is good", "choices": ["yes", "no"]}
    first, bad, last = Predictor(task, FLOAT32).open().predict([good, row, good])
    assert isinstance(bad, Failure)
    assert bad.code == Code.ENCODE_FAILED
    assert re.search(message, bad.message)
    assert first == last


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("masked-lm", {"top_k": 0}, "task.top_k must be 1 or more, not 0"),
        ("masked-lm", {"targets": ("xyzzy",)}, "task.targets: 'xyzzy' is not one piece of the vocabulary"),
        ("text-classification", {"max_length": 65}, "task.max_length 65 is more than the 64 tokens of the model"),
        ("text-classification", {"max_length": -1}, "task.max_length must be 0 or more"),
        ("features", {"pooling": "sum"}, "task.pooling must be mean, cls or pooler"),
        ("causal-lm", {"top_p": 0.0}, "task.top_p must be above 0 and at most 1"),
    ],
)
def test_a_wrong_option_is_named(tiny, name, options, message):
    with pytest.raises(UsageError, match=message):
        rehearse(load(name, tiny("bert", name), **options))


def test_a_head_that_the_checkpoint_lacks_is_refused_unless_asked_for(tiny):
    folder = tiny("bert", "masked-lm")
    for name in ("text-classification", "multiple-choice", "next-sentence"):
        with pytest.raises(CheckpointError, match=r"lacks weights that this task needs .*allow_random_head"):
            rehearse(load(name, folder))
        rehearse(load(name, folder, allow_random_head=True))
    rehearse(load("features", folder))  # has no pooler, and mean pooling needs none
    with pytest.raises(CheckpointError, match="pooler"):
        rehearse(load("features", folder, pooling="pooler"))


def test_a_rehearsal_loads_no_weights(tiny):
    task = load("text-classification", tiny("bert", "text-classification"))
    rehearse(task)
    assert {weight.device.type for weight in task.model.parameters()} == {"meta"}


def test_a_head_of_another_size_is_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny("bert", "text-classification"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "a", "1": "b"}, {"a": 0, "b": 1}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"lacks weights .*classifier\.bias"):
        Predictor(load("text-classification", folder), FLOAT32).open()


def test_pickled_code_is_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny("bert", "features"), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings": Evil(tmp_path / "was-here")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickled weights with code in them"):
        Predictor(load("features", folder), FLOAT32).open()
    assert not (tmp_path / "was-here").exists()


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_broken_parts_are_named(tiny, tmp_path):
    folder = shutil.copytree(tiny("bert", "features"), tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be loaded as AutoModel"):
        Predictor(load("features", folder), FLOAT32).open()
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="has no tokenizer that can be loaded"):
        Predictor(load("features", folder), FLOAT32).open()


def test_options_are_documented():
    """``manta run … --help`` prints each option's docstring; an option without one has no help."""
    import ast
    import inspect

    for task in pipelines.family("bert").tasks:
        for kind in task.options_type.__mro__[:-1]:
            body = ast.parse(inspect.getsource(kind)).body[0].body
            named = {one.target.id: after for one, after in pairwise(body) if isinstance(one, ast.AnnAssign)}
            own = {each.name for each in fields(kind)} & set(named)
            assert all(isinstance(named[name], ast.Expr) for name in own), kind
