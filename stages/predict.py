"""Predictor as stages: ``Prepare`` and ``Predict`` for machines whose CPUs and GPUs scale apart, ``PrepareAndPredict``
for the others, in one operator. A row that fails keeps its place with its ``failure``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from stages.base import Row, Stage, Worker, failures_column, set_column
from stages.columns import COLUMNS, SENSED
from stages.errors import Failure
from stages.examples import ENCODED, pack, unpack
from stages.predictor import KEY, Predictor, Record, Task
from stages.settings import Predict as PredictSettings

__all__ = ["Predict", "Predictor", "Prepare", "PrepareAndPredict"]


@dataclass(frozen=True, kw_only=True)
class Prepare(Stage):
    """The processor's half: a row to its records, each with its examples in ``encoded``."""

    name: ClassVar[str] = "prepare"
    task: Task
    settings: PredictSettings = field(default_factory=PredictSettings)

    @property
    def reads(self) -> tuple[str, ...]:
        """What the task reads."""
        return self.task.reads

    @property
    def writes(self) -> tuple[str, ...]:
        """The examples; optional columns of the task that are not there are null from here on."""
        return ("record", *self.task.optional, "encoded", "failure")

    def open(self) -> Worker:
        """Loads the processor."""
        return _Prepare(self.task, Predictor(self.task, self.settings).open(model=False))


@dataclass(frozen=True, kw_only=True)
class Predict(Stage):
    """The model's half: ``encoded`` to the task's answers."""

    name: ClassVar[str] = "predict"
    task: Task
    settings: PredictSettings
    threads: int = 0
    """CPU threads of the model; 0 leaves torch's own choice."""
    family: str = ""
    """Names the task's family in metrics."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The examples, and what the answers are told from."""
        return ("encoded", *self.task.reads, *self.task.optional)

    @property
    def writes(self) -> tuple[str, ...]:
        """The task's answers."""
        return (*self.task.writes, "failure")

    @property
    def drops(self) -> tuple[str, ...]:
        """The examples."""
        return ("encoded",)

    def open(self) -> Worker:
        """Loads processor and model."""
        return _Predict(self.task, Predictor(self.task, self.settings, threads=self.threads, family=self.family).open())


@dataclass(frozen=True, kw_only=True)
class PrepareAndPredict(Stage):
    """Both halves in one operator, for machines without a GPU: rows to answers."""

    name: ClassVar[str] = "predict"
    task: Task
    settings: PredictSettings
    threads: int = 0
    """CPU threads of the model; 0 leaves torch's own choice."""
    family: str = ""
    """Names the task's family in metrics."""

    @property
    def reads(self) -> tuple[str, ...]:
        """What the task reads."""
        return self.task.reads

    @property
    def writes(self) -> tuple[str, ...]:
        """The task's answers."""
        return ("record", *self.task.optional, *self.task.writes, "failure")

    def open(self) -> Worker:
        """Loads processor and model."""
        return _PrepareAndPredict(
            self.task, Predictor(self.task, self.settings, threads=self.threads, family=self.family).open()
        )


class _Worker:
    def __init__(self, task: Task, predictor: Predictor) -> None:
        self._task, self._predictor = task, predictor

    def close(self) -> None:
        """Nothing outlives the process."""

    def _expand(self, table: pa.Table) -> tuple[pa.Table, list[Record]]:
        return expand(table, self._task, self._predictor)

    def _answer(self, table: pa.Table, records: Sequence[Record]) -> pa.Table:
        return with_answers(table, self._task, self._predictor.run_encoded(records))


def expand(table: pa.Table, task: Task, predictor: Predictor) -> tuple[pa.Table, list[Record]]:
    """The table with one row a record, and the records with their examples."""
    rows = _rows(table, task)
    records = predictor.encode_rows(rows)
    out = table.take(pa.array([record.origin for record in records], pa.int64()))
    for name in ("record", *task.reads, *task.optional):
        values = [record.row.get(name) for record in records]
        if name == "record":
            values = [0 if value is None else value for value in values]
        told = any(value is not rows[one.origin].get(name) for one, value in zip(records, values, strict=True))
        if told or name not in table.column_names:
            out = set_column(out, name, pa.array(values, COLUMNS[name].type))
    return set_column(out, "failure", failures_column([record.failure for record in records])), records


def with_answers(table: pa.Table, task: Task, answers: Sequence[Row | Failure]) -> pa.Table:
    """The table with the task's answers, or the failure of each row that has none."""
    for name in task.writes:
        values = [None if isinstance(one, Failure) else one.get(name) for one in answers]
        table = set_column(table, name, pa.array(values, COLUMNS[name].type))
    return set_column(table, "failure", failures_column([a if isinstance(a, Failure) else None for a in answers]))


class _Prepare(_Worker):
    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        table, records = self._expand(rows)
        encoded = [None if one.failure else pack(one.examples) for one in records]
        for name in SENSED:  # the examples hold it now: it need not travel twice
            if name in table.column_names:
                table = set_column(table, name, _emptied(table[name]))
        yield set_column(table, "encoded", pa.array(encoded, ENCODED))


class _Predict(_Worker):
    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        encoded = rows["encoded"].to_pylist()
        known = _rows(rows, self._task)
        records = [Record(row=row, examples=unpack(one)) for row, one in zip(known, encoded, strict=True)]
        yield self._answer(rows.drop_columns(["encoded"]), records)


class _PrepareAndPredict(_Worker):
    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        yield self._answer(*self._expand(rows))


def _emptied(column: pa.ChunkedArray) -> pa.Array:
    """Structs without their bytes; sizes stay, which answers are told from."""
    values = column.combine_chunks()
    parts = [
        pa.nulls(len(values), one.type) if pa.types.is_binary(one.type) else values.field(one.name)
        for one in values.type
    ]
    return pa.StructArray.from_arrays(parts, fields=list(values.type), mask=values.is_null())


def _rows(table: pa.Table, task: Task) -> list[Row]:
    """The rows as Python values, with the columns that a task may look at and no others."""
    wanted = dict.fromkeys((*KEY, *task.reads, *task.optional))
    rows: list[Row] = table.select([name for name in wanted if name in table.column_names]).to_pylist()
    return rows
