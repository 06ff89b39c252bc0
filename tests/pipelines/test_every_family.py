"""One contract over every task of every family: a new family is tested by being there.

Rows are made from what a task reads (sample_rows.py); what is right comes from transformers by hand (references_*.py,
by task name, or family/task where a family's task is its own).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_rows import LENGTHS, SIZES, gold_row, mask_of, sample_rows

from pipelines import Checkpoint, Task, families, family
from stages.base import OpenStages, Row
from stages.columns import COLUMNS, documents_schema, results_schema
from stages.errors import Code, Failure
from stages.examples import pack, unpack
from stages.predict import Predict, Predictor, Prepare, PrepareAndPredict
from stages.settings import Predict as Settings

TASKS = [pytest.param(name, task, id=f"{name}/{task.name}") for name in families() for task in family(name).tasks]
TRAINABLE = [each for each in TASKS if each.values[1].metric is not None]
FOLDED = [each for each in TASKS if each.values[1].combines]
KEY = ("uri", "source", "page", "record")


@pytest.fixture
def made(request: pytest.FixtureRequest, tiny, family_name: str, task_type: type[Task]) -> Task:
    """The task on its tiny checkpoint; nothing loaded."""
    folder = tiny(family_name, task_type.name)
    return task_type(Checkpoint(ref=f"tiny {family_name}", path=str(folder), content="0"))


@functools.cache
def opened(task_type: type[Task], folder: str, budget: int = 0) -> Predictor:
    task = task_type(Checkpoint(ref="tiny", path=folder, content="0"))
    return Predictor(task, Settings(dtype="float32", device="cpu", token_budget=budget)).open()


def rows_of(task: Task, seed: int = 0) -> list[Row]:
    sizes = LENGTHS.get(task.name, SIZES)
    return sample_rows(type(task), seed=seed, sizes=sizes, mask=mask_of(task.checkpoint.path))


def references() -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(Path(__file__).parent.glob("references_*.py")):
        found |= importlib.import_module(path.stem).REFERENCES
    return found


def same(ours: object, theirs: object, where: str = "row") -> None:
    """Numbers within 1e-4, the levels of a PNG within one, everything else exactly."""
    if isinstance(theirs, bytes):
        levels = [np.asarray(Image.open(io.BytesIO(png)), np.int64) for png in (ours, theirs)]
        assert levels[0].shape == levels[1].shape, where
        assert np.abs(levels[0] - levels[1]).max() <= 1, where
    elif isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert set(ours) == set(theirs), where
        for name, value in theirs.items():
            same(ours[name], value, f"{where}.{name}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        if theirs and isinstance(theirs[0], float):
            assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4), where
            return
        for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{n}]")
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, rel_tol=1e-4, abs_tol=1e-4), f"{where}: {ours} is not {theirs}"
    else:
        assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"


def test_the_registry_loads_no_engine():
    code = (
        "import sys, pipelines; [pipelines.family(name) for name in pipelines.families()]; "
        "print(*({'torch', 'transformers', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("name", families())
def test_a_family_says_what_it_is(name):
    found = family(name)
    assert found.summary
    assert found.licence
    assert inspect.getdoc(sys.modules[f"pipelines.{name}"])
    assert len({task.name for task in found.tasks}) == len(found.tasks)
    assert set(found.checkpoints) <= {"", *(task.name for task in found.tasks)}
    assert all("@" in reference for reference in found.checkpoints.values()), "a revision is pinned"


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_a_task_says_what_it_is(family_name, task_type):
    assert task_type.summary
    assert all(inspect.getdoc(each) for each in (task_type, task_type.options_type, inspect.getmodule(task_type)))
    columns = (*task_type.reads, *task_type.optional, *task_type.gold, *task_type.writes, *task_type.combines)
    assert set(columns) <= set(COLUMNS)
    assert set(task_type.combines) <= {*task_type.writes, "page"}
    assert results_schema(task_type.writes)
    assert documents_schema(task_type.combines)
    assert bool(task_type.gold) <= (task_type.metric is not None)


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_answers_are_those_of_transformers(made, family_name, task_type):
    known = references()
    reference = known.get(f"{family_name}/{task_type.name}") or known.get(task_type.name)
    assert reference is not None, f"write a reference for {family_name}/{task_type.name} into a references_*.py"
    rows = rows_of(made)
    ours = opened(task_type, made.checkpoint.path).predict(rows)
    theirs = reference(made.checkpoint.folder, rows)
    assert [set(answer) for answer in ours] == [set(task_type.writes)] * len(rows)
    if "word_labels" in task_type.writes:
        assert len({label for answer in ours for label in answer["word_labels"]}) > 2, "so do labels"
    same(ours, theirs)
    assert len({str(answer) for answer in ours}) > len(rows) / 2, "answers that are all alike prove nothing"


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_neither_batch_nor_order_nor_padding_changes_an_answer(made, family_name, task_type):
    rows = rows_of(made, seed=1)
    wanted = opened(task_type, made.checkpoint.path).predict(rows)

    @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.permutations(range(len(rows))), st.sampled_from([1, 150, 100_000]))
    def check(order, budget):
        answers = opened(task_type, made.checkpoint.path, budget).predict([rows[n] for n in order])
        same(answers, [wanted[n] for n in order])

    check()


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_examples_travel_whole(made, family_name, task_type):
    made.load_processor()
    for row in rows_of(made):
        examples = made.encode(row)
        assert examples
        for ours, back in zip(examples, unpack(pack(examples)), strict=True):
            assert (ours.length, ours.extra, ours.group) == (back.length, back.extra, back.group)
            assert list(ours.arrays) == list(back.arrays)
            for name, array in ours.arrays.items():
                assert array.dtype == back.arrays[name].dtype
                assert np.array_equal(array, back.arrays[name])


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_both_halves_apart_answer_as_one_and_no_row_is_lost(made, family_name, task_type):
    good = rows_of(made)
    bad = [{**good[0], **dict.fromkeys((*task_type.reads, *task_type.optional))}]
    bad += [{**good[1], name: None} for name in task_type.reads]
    rows = [row for pair in zip(good, bad, strict=False) for row in pair] + good[len(bad) :] + bad[len(good) :]
    rows = [{**row, "uri": f"row {n}"} for n, row in enumerate(rows)]
    wrong = [row["uri"] for row in rows if any(row[name] is None for name in task_type.reads) or not answerable(row)]
    names = (*KEY, *task_type.reads, *task_type.optional)
    table = pa.table({name: pa.array([row.get(name) for row in rows], COLUMNS[name].type) for name in names})

    settings_ = Settings(dtype="float32", device="cpu")
    fused = run([PrepareAndPredict(task=made, settings=settings_)], table)
    apart = run([Prepare(task=made, settings=settings_), Predict(task=made, settings=settings_)], table)

    for name in task_type.writes:
        assert fused.schema.field(name).type == apart.schema.field(name).type == COLUMNS[name].type
    same(answers_by_uri(apart, task_type), answers_by_uri(fused, task_type))
    answers = answers_by_uri(fused, task_type)
    assert sorted(answers) == sorted(row["uri"] for row in rows)
    assert sorted(uri for uri, answer in answers.items() if answer["failure"]) == sorted(wrong)
    for uri in wrong:
        assert answers[uri]["failure"]["code"] == str(Code.ENCODE_FAILED)


def answers_by_uri(table: pa.Table, task_type: type[Task]) -> dict[str, Row]:
    """What the task answered, of rows that did not fail, and why the others did."""
    columns = ["uri", "failure", *task_type.writes]
    rows = {row["uri"]: {name: row[name] for name in columns} for row in table.select(columns).to_pylist()}
    assert len(rows) == table.num_rows
    return {uri: {"failure": row["failure"]} if row["failure"] else row for uri, row in rows.items()}


def answerable(row: Row) -> bool:
    return any(value is not None for name, value in row.items() if name not in KEY)


def run(stages, table: pa.Table) -> pa.Table:
    opened_stages = OpenStages(stages)
    try:
        return pa.concat_tables(list(opened_stages(table)))
    finally:
        opened_stages.close()


@pytest.mark.parametrize(("family_name", "task_type"), TRAINABLE)
def test_a_loss_is_the_sum_of_its_parts(made, family_name, task_type):
    import torch

    made.load_processor()
    made.load_model(torch.device("cpu"), torch.float32)
    rows = [gold_row(made, row, seed=n) for n, row in enumerate(rows_of(made, seed=2)[:4])]
    labelled = [one for row in rows for one in made.encode_labels(row, made.encode(row))]
    labelled = [made.vary(one, np.random.default_rng(at)) for at, one in enumerate(labelled)]
    group = [one for one in labelled if one.group == labelled[0].group]
    batch = made.collate(group)
    labels = batch["labels"]
    count = (labels != -100).sum()
    assert count > 0

    def loss(rows_of_batch: slice) -> torch.Tensor:
        inputs = {name: tensor[rows_of_batch] for name, tensor in batch.items() if name != "labels"}
        return made.loss(made.model(**inputs), labels[rows_of_batch], count)

    whole = loss(slice(None))
    value = float(whole.detach())
    assert torch.isfinite(whole)
    assert whole > 0
    if len(labels) == len(next(iter(batch.values()))) and not task_type.contrasts:
        parts = sum(float(loss(slice(n, n + 1)).detach()) for n in range(len(labels)))
        assert parts == pytest.approx(value, abs=1e-5, rel=1e-5)
    alone = made.loss(made.model(**{n: t for n, t in batch.items() if n != "labels"}), labels, None)
    assert float(alone.detach()) == pytest.approx(value, rel=1e-5)
    whole.backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in made.model.parameters())


@pytest.mark.parametrize(("family_name", "task_type"), TRAINABLE)
def test_right_answers_score_best_and_wrong_labels_are_named(made, family_name, task_type):
    made.load_processor()
    rows = [gold_row(made, row, seed=n) for n, row in enumerate(rows_of(made, seed=3))]
    answers = opened(task_type, made.checkpoint.path).predict(rows)
    assert not any(isinstance(one, Failure) for one in answers)
    scores = made.metrics(rows, answers)
    scores = {**scores, **made.loss_metrics(1.0)}
    judges = made.judged_by()
    assert judges[0] == task_type.metric
    assert {metric.name for metric in judges} == set(scores)
    assert {metric.name for metric in judges if metric.from_loss} == set(made.loss_metrics(1.0))
    assert all(math.isfinite(score) for score in scores.values())
    for name in task_type.gold:
        assert name not in task_type.reads


@pytest.mark.parametrize(("family_name", "task_type"), FOLDED)
def test_pages_fold_to_one_answer_in_any_order(made, family_name, task_type):
    rows = rows_of(made)
    answers = [
        {**answer, "page": row["page"]}
        for row, answer in zip(rows, opened(task_type, made.checkpoint.path).predict(rows), strict=True)
    ]
    answers += [{**answers[0], "page": 90}, {**answers[-1], "page": 0}]
    wanted = max(answers, key=lambda answer: (answer["score"], -answer["page"]))
    for seed in range(5):
        left = random.Random(seed).sample(answers, len(answers))
        while len(left) > 1:  # any tree
            at = random.Random(seed + len(left)).randrange(len(left) - 1)
            left[at : at + 2] = [made.combine(left[at], left[at + 1])]
        assert left == [wanted]
