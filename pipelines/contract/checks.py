"""What a family and its tasks promise of answers. Each check raises AssertionError that names the task."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import pyarrow as pa

import pipelines
from pipelines.contract.case import Case
from pipelines.contract.same import same
from pipelines.family import Task
from stages.base import OpenStages, Row, Stage
from stages.columns import COLUMNS, documents_schema, results_schema
from stages.errors import Code
from stages.examples import pack, unpack
from stages.predict import Predict, Prepare, PrepareAndPredict
from stages.settings import Predict as Settings

Reference: TypeAlias = Callable[[Path, Sequence[Row]], list[Row]]
"""A checkpoint's folder and rows to the right answers."""
KEY = ("uri", "source", "page", "record")
BUDGETS = (1, 150, 100_000)
"""Padded tokens of a batch: single rows, a few, all."""


def family_tells(name: str) -> None:
    """A family says what it is, and pins the revision of every checkpoint."""
    found = pipelines.family(name)
    assert found.summary, f"{name} has no summary"
    assert found.licence, f"{name} does not say its weights' licence"
    module = sys.modules[found.tiny.__module__]
    assert inspect.getdoc(module), f"{module.__name__} has no docstring"
    names = [task.name for task in found.tasks]
    assert len(set(names)) == len(names), f"{name} has two tasks of one name: {names}"
    assert set(found.checkpoints) <= {"", *names}, f"{name} has checkpoints for tasks that it lacks"
    assert all("@" in reference for reference in found.checkpoints.values()), f"{name}: a revision is not pinned"


def task_tells(kind: type[Task]) -> None:
    """A task says what it is, and its columns are known."""
    assert kind.summary, f"{kind.name} has no summary"
    for each in (kind, kind.options_type, inspect.getmodule(kind)):
        assert inspect.getdoc(each), f"{kind.name}: {each} has no docstring"
    columns = {*kind.reads, *kind.optional, *kind.gold, *kind.writes, *kind.combines}
    assert columns <= set(COLUMNS), f"{kind.name}: stages/columns.py does not know {columns - set(COLUMNS)}"
    assert set(kind.combines) <= {*kind.writes, "page"}, f"{kind.name} combines columns that it does not write"
    assert results_schema(kind.writes)
    assert documents_schema(kind.combines)
    assert bool(kind.gold) <= (kind.metric is not None), f"{kind.name} has right answers but no metric"


def answers_are(case: Case, reference: Reference) -> None:
    """Answers are those of the reference, and differ from row to row."""
    rows = case.rows()
    ours = case.opened().predict(rows)
    answers = [one if isinstance(one, dict) else {} for one in ours]
    assert [set(one) for one in answers] == [set(case.kind.writes)] * len(rows), f"{case}: {ours}"
    if "word_labels" in case.kind.writes:
        labels = {label for one in answers for label in cast("list[str]", one["word_labels"])}
        assert len(labels) > 2, f"{case}: labels that are all alike prove nothing"
    same(answers, reference(case.folder, rows), str(case))
    assert len({str(one) for one in answers}) > len(rows) / 2, f"{case}: answers that are all alike prove nothing"


def neither_batch_nor_order_matters(case: Case) -> None:
    """However rows are batched, padded and ordered, a row's answer is the same."""
    rows = case.rows(seed=1)
    wanted = case.opened().predict(rows)
    for budget in BUDGETS:
        order = random.Random(budget).sample(range(len(rows)), len(rows))  # noqa: S311 - any order will do
        answers = case.opened(budget).predict([rows[n] for n in order])
        same(answers, [wanted[n] for n in order], f"{case}, batches of {budget} tokens, rows in order {order}")


def examples_travel_whole(case: Case) -> None:
    """What ``encode`` makes is the same after it was packed for another process."""
    task = case.task
    task.load_processor()
    for row in case.rows():
        examples = task.encode(row)
        assert examples, f"{case}: a row without examples"
        for ours, back in zip(examples, unpack(pack(examples)), strict=True):
            assert (ours.length, ours.extra, ours.group) == (back.length, back.extra, back.group), str(case)
            assert list(ours.arrays) == list(back.arrays), str(case)
            for name, array in ours.arrays.items():
                assert array.dtype == back.arrays[name].dtype, f"{case}: {name}"
                assert np.array_equal(array, back.arrays[name]), f"{case}: {name}"


def halves_answer_as_one(case: Case) -> None:
    """Half the work here and half there gives the same answers, and a row that cannot be encoded fails alone."""
    table, wrong = _good_and_bad(case)
    settings = Settings(dtype="float32", device="cpu")
    fused = _run([PrepareAndPredict(task=case.task, settings=settings)], table)
    apart = _run([Prepare(task=case.task, settings=settings), Predict(task=case.task, settings=settings)], table)
    for name in case.kind.writes:
        kinds = (fused.schema.field(name).type, apart.schema.field(name).type)
        assert kinds == (COLUMNS[name].type,) * 2, f"{case}: {name} is {kinds}"
    answers = _by_uri(fused, case)
    same(_by_uri(apart, case), answers, str(case))
    assert sorted(answers) == sorted(table["uri"].to_pylist()), f"{case}: rows were lost"
    failed = sorted(uri for uri, answer in answers.items() if answer["failure"])
    assert failed == sorted(wrong), f"{case}: rows that should fail are {wrong}, those that do {failed}"
    codes = {cast("Row", answers[uri]["failure"])["code"] for uri in wrong}
    assert codes <= {str(Code.ENCODE_FAILED)}, f"{case}: {codes}"


def pages_fold_in_any_order(case: Case) -> None:
    """A document's answer is the best page's, in whatever order its pages are folded."""
    if not case.kind.combines:
        return
    pairs = zip(case.rows(), case.opened().predict(case.rows()), strict=True)
    answers = [{**cast("Row", answer), "page": row["page"]} for row, answer in pairs]
    answers += [{**answers[0], "page": 90}, {**answers[-1], "page": 0}]
    wanted = max(answers, key=lambda answer: (cast("float", answer["score"]), -cast("int", answer["page"])))
    task = case.task
    for seed in range(5):
        left = random.Random(seed).sample(answers, len(answers))  # noqa: S311
        while len(left) > 1:  # any tree
            at = random.Random(seed + len(left)).randrange(len(left) - 1)  # noqa: S311
            left[at : at + 2] = [task.combine(left[at], left[at + 1])]
        assert left == [wanted], str(case)


CHECKS: tuple[Callable[[Case], None], ...] = (
    neither_batch_nor_order_matters,
    examples_travel_whole,
    halves_answer_as_one,
    pages_fold_in_any_order,
)
"""Of every task."""


def _good_and_bad(case: Case) -> tuple[pa.Table, list[str]]:
    """Rows of which some lack what the task reads, and the names of those."""
    good, kind = case.rows(), case.kind
    bad = [{**good[0], **dict.fromkeys((*kind.reads, *kind.optional))}]
    bad += [{**good[1], name: None} for name in kind.reads]
    mixed = [row for pair in zip(good, bad, strict=False) for row in pair] + good[len(bad) :] + bad[len(good) :]
    rows = [{**row, "uri": f"row {n}"} for n, row in enumerate(mixed)]
    lacking = [row for row in rows if any(row[name] is None for name in kind.reads) or not _answerable(row)]
    names = (*KEY, *kind.reads, *kind.optional)
    table = pa.table({name: pa.array([row.get(name) for row in rows], COLUMNS[name].type) for name in names})
    return table, [str(row["uri"]) for row in lacking]


def _answerable(row: Row) -> bool:
    return any(value is not None for name, value in row.items() if name not in KEY)


def _by_uri(table: pa.Table, case: Case) -> dict[str, Row]:
    """What the task answered, of rows that did not fail, and why the others did."""
    columns = ["uri", "failure", *case.kind.writes]
    rows = {str(row["uri"]): row for row in table.select(columns).to_pylist()}
    assert len(rows) == table.num_rows, f"{case}: rows came twice"
    return {uri: {"failure": row["failure"]} if row["failure"] else row for uri, row in rows.items()}


def _run(stages: Sequence[Stage], table: pa.Table) -> pa.Table:
    opened = OpenStages(stages)
    try:
        return pa.concat_tables(list(opened(table)))
    finally:
        opened.close()
