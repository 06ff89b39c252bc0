"""What a stage is, and the check that a plan of stages can work. Imports neither ray nor torch.

A ``Stage`` is a small picklable description; ``open()`` runs on the worker, once, and loads what is heavy.
Tables travel between stages; a row whose ``failure`` column is set is passed by untouched, and ``RowError`` raised
for a row becomes its ``failure``. So no stage ever loses a row.
"""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from stages.columns import COLUMNS
from stages.errors import Code, Failure, PlanError

Row: TypeAlias = dict[str, object]
"""One row as Python values; its columns are those of ``stages.columns``."""


class Worker(Protocol):
    """A stage at work in one process."""

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Answers healthy rows; may answer more rows or fewer tables than it was given, never fewer rows."""

    def close(self) -> None:
        """Frees processes and files. Called once, when the worker ends."""


class Stage(ABC):
    """A picklable description of one step; subclasses are frozen dataclasses."""

    name: ClassVar[str]
    """The verb, as it stands in error rows and in the timing table."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Columns that must be there."""

    @property
    @abstractmethod
    def writes(self) -> tuple[str, ...]:
        """Columns that are there afterwards, new or replaced."""

    @property
    def drops(self) -> tuple[str, ...]:
        """Columns that are gone afterwards."""
        return ()

    @abstractmethod
    def open(self) -> Worker:
        """Loads what the stage needs, on the worker."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Stages that share one operator, and what each of its processes asks of the cluster."""

    stages: tuple[Stage, ...]
    num_cpus: float = 1.0
    """CPUs that one process holds; below 1 where another pool shares the core."""
    num_gpus: float = 0.0
    memory: int = 0
    """Bytes of memory that the scheduler sets aside for one process; 0 leaves it to Ray."""
    workers: tuple[int, int] | None = None
    """Least and most actors; None runs tasks instead. An actor has its next block at hand, while a task waits until the
    driver has placed it, a tenth of a second."""
    most_tasks: int = 0
    """Most tasks at once where there are no actors; 0 runs as many as there is room for."""
    batch_rows: int = 16
    """Rows handed over at once; also the rows of one committed part."""
    spread_rows: int = 0
    """Rows of a block before this pool, by a repartition that spreads one file's pages; 0 keeps the blocks."""

    @property
    def name(self) -> str:
        """The operator's name in progress, logs and ``ds.stats()``."""
        return "+".join(stage.name for stage in self.stages)


def check_plan(columns: Iterable[str], pools: Sequence[Pool]) -> tuple[str, ...]:
    """The columns after the last stage, given those at the start. Raises PlanError naming stage and column."""
    there = set(columns)
    for stage in (stage for pool in pools for stage in pool.stages):
        missing = [name for name in stage.reads if name not in there]
        if missing:
            raise PlanError(
                f"stage {stage.name} needs the column {missing[0]!r}, which nothing before it makes; "
                f"there are: {', '.join(sorted(there))}",
            )
        there = (there | set(stage.writes)) - set(stage.drops)
    return tuple(sorted(there))


def seconds_column(stage: str) -> str:
    """The column that carries the seconds which ``stage`` spent on the row."""
    return f"seconds:{stage}"


def _column_type(name: str) -> pa.DataType:
    return pa.float32() if name.startswith("seconds:") else COLUMNS[name].type


def failures_column(failures: Sequence[Failure | None]) -> pa.Array:
    """The ``failure`` column for these rows."""
    values = [None if one is None else {**asdict(one), "code": str(one.code)} for one in failures]
    return pa.array(values, type=COLUMNS["failure"].type)


def set_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """``table`` with the column added, or replaced where it is there."""
    at = table.schema.get_field_index(name)
    return table.append_column(name, values) if at < 0 else table.set_column(at, name, values)


class OpenStages:
    """The stages of one pool at work: healthy rows go through each in turn, failed ones pass by.

    Seconds are measured here, once for all stages: each stage's share of a batch is spread over its rows.
    """

    def __init__(self, stages: Sequence[Stage], *, last_try: bool = False) -> None:
        """``last_try``: an exception in a stage becomes its rows' failure instead of ending the task."""
        self._stages = [(stage, stage.open()) for stage in stages]
        self._last_try = last_try

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Runs one batch through all stages."""
        yield from self._run(table, 0)

    def _run(self, table: pa.Table, depth: int) -> Iterator[pa.Table]:
        if depth == len(self._stages):
            yield table
            return
        stage = self._stages[depth][0]
        done = 0
        try:
            for out in _through(self._stages[depth], table):
                done += out.num_rows
                yield from self._run(out, depth + 1)
        except Exception as error:
            # A bug or a bad machine. Blocks are tried again in smaller ones; a row that fails alone says why.
            if not self._last_try or done or "failure" in stage.reads:
                raise
            yield _internal(table, stage, error)

    def close(self) -> None:
        """Closes every stage, in order."""
        for _, worker in self._stages:
            worker.close()


def _internal(table: pa.Table, stage: Stage, error: Exception) -> pa.Table:
    """All rows as failed for a reason that lies in the code or the machine, with the cause in ``detail``."""
    code = Code.OUT_OF_MEMORY if isinstance(error, MemoryError) else Code.INTERNAL
    message = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    detail = "".join(traceback.format_exception(error))[-8000:]
    failure = Failure(stage=stage.name, code=code, message=message, detail=detail)
    return _widen(set_column(table, "failure", failures_column([failure] * table.num_rows)), stage)


def _through(opened: tuple[Stage, Worker], table: pa.Table) -> Iterator[pa.Table]:
    stage, worker = opened
    sees_failures = "failure" in stage.reads  # write commits failed rows too
    if sees_failures or "failure" not in table.column_names or not table.num_rows:
        healthy, failed = table, None
    else:
        ok = pc.is_null(table["failure"])
        healthy, failed = table.filter(ok), table.filter(pc.invert(ok))
    if healthy.num_rows:
        yield from _timed(stage, worker, healthy)
    if failed is not None and failed.num_rows:
        yield _widen(failed, stage)


def _timed(stage: Stage, worker: Worker, table: pa.Table) -> Iterator[pa.Table]:
    """The worker's tables, each with the seconds that its rows took; time spent downstream does not count."""
    answers, start = iter(worker(table)), time.perf_counter()
    for out in answers:
        share = (time.perf_counter() - start) / max(out.num_rows, 1)
        yield set_column(out, seconds_column(stage.name), pa.array([share] * out.num_rows, pa.float32()))
        start = time.perf_counter()


def _widen(table: pa.Table, stage: Stage) -> pa.Table:
    """Failed rows with the columns that ``stage`` would have made, as nulls, so that all blocks have one schema."""
    table = table.drop_columns([name for name in stage.drops if name in table.column_names])
    for name in (*stage.writes, seconds_column(stage.name)):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, _column_type(name)))
    return table
