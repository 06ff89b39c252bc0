"""Training rows to ``encoded/``, once: epochs read tokens, never text or pixels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.waiting import watched
from jobs.ways_in import columns_of, from_table, rows_at_once
from pipelines import Task
from stages import ray_data
from stages.base import OpenStages, Pool, Row, Stage, Worker, failures_column, set_column
from stages.errors import Failure, RowError, UsageError
from stages.examples import ENCODED, Example, pack
from stages.listing import listing
from stages.settings import Limits, Settings
from stages.storage import open_storage
from stages.table_columns import Columns
from stages.tables import TableFile, inspect
from stages.takes import Takes

PART_ROWS = 500
"""Rows of one part of ``encoded/``, where they are texts or words."""
FOLDER = "encoded"
log = logging.getLogger("manta")
_RECEIPT = ("uri", "record", "failure")


@dataclass(frozen=True, kw_only=True)
class Encode(Stage):
    """Rows to examples with labels; writes each table that comes as one part and answers with what became of its rows.

    A part's name is the hash of its content, so doing it again overwrites.
    """

    name: ClassVar[str] = "encode"
    task: Task
    gold: tuple[str, ...]
    """Columns with the right answers."""
    output: str

    @property
    def reads(self) -> tuple[str, ...]:
        """What the task reads, and its right answers."""
        return (*self.task.reads, *self.gold)

    @property
    def writes(self) -> tuple[str, ...]:
        """Why rows could not be encoded."""
        return ("failure",)

    def open(self) -> Worker:
        """Loads the processor."""
        return _Encode(self)


class _Encode:
    def __init__(self, stage: Encode) -> None:
        self._task, self._storage = stage.task, open_storage(stage.output)
        self._task.load_processor()

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        labelled: list[list[Example]] = []
        failures: list[Failure | None] = []
        for row in rows.to_pylist():
            try:
                labelled.append(examples_of(self._task, row))
                failures.append(None)
            except RowError as error:
                failures.append(error.failure("encode"))
        self._write(packed(self._task, labelled))
        yield set_column(rows, "failure", failures_column(failures)).select(_RECEIPT)

    def _write(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        self._storage.put(f"{FOLDER}/{hashlib.sha256(data).hexdigest()[:32]}.parquet", data)

    def close(self) -> None:
        """Nothing outlives the process."""


def examples_of(task: Task, row: Row) -> list[Example]:
    """A row's training examples, for a task whose processor is loaded. Raises RowError."""
    return [each for one in task.records(row) for each in task.encode_labels(one, task.encode(one))]


def packed(task: Task, labelled: Sequence[Sequence[Example]]) -> pa.Table:
    """Rows' training examples as a part of ``encoded/``; the task may have joined rows."""
    return pa.table({"encoded": pa.array([pack(examples) for examples in task.arrange(labelled)], ENCODED)})


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Training or evaluation rows: tables whose columns a task reads."""

    columns: Columns
    files: tuple[TableFile, ...]
    only: tuple[frozenset[int], ...] | None = None
    """Ordinals of the rows that count, file by file; None for all."""

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(map(len, self.only) if self.only is not None else (file.rows for file in self.files))

    @property
    def digest(self) -> str:
        """32 hexadecimal digits of what the tables hold, wherever they lie."""
        told = [file.doc_id for file in self.files]
        if self.only is not None:
            told = [f"{one} {sorted(only)}" for one, only in zip(told, self.only, strict=True)]
        return hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()[:32]

    def slices(self, most: int) -> list[pa.Table]:
        """The tables cut to slices of at most ``most`` rows, one a table."""
        wanted = [None] * len(self.files) if self.only is None else [only.__contains__ for only in self.only]
        pairs = zip(self.files, wanted, strict=True)
        cut = [file.slices([(0, file.rows)], most, only) for file, only in pairs]
        return [table.slice(at, 1) for table in cut for at in range(table.num_rows)]

    def read(self, task: Task) -> list[Row]:
        """All rows, here, with what a task reads whose processor is loaded. Raises UsageError for one that does not
        fit."""
        takes = task.takes()
        opened = OpenStages(from_table(task, self.columns, Settings(), takes=takes))
        try:
            slices = self.slices(part_rows(takes))
            rows = [row for one in slices for table in opened(one) for row in table.to_pylist()]
        finally:
            opened.close()
        for row in rows:
            if row["failure"] is not None:
                raise UsageError(f"{row['uri']}, row {row['record']}: {row['failure']['message']}")
        return rows


def part_rows(takes: Takes | None) -> int:
    """Rows of one part of ``encoded/``: few where each is an image, a recording or a video."""
    return PART_ROWS if takes is None else rows_at_once(takes)


def find_tables(uri: str, task: Task) -> Tables:
    """The tables at ``uri``, for a task whose processor is loaded. Raises UsageError where there are none, where one is
    empty, or where a column is missing."""
    columns = columns_of(task, more=task.gold_columns())
    found = [row for table in listing([uri]) for row in table.to_pylist() if row["kind"] == "table"]
    if not found:
        raise UsageError(f"no training table at {uri}: name .parquet or .jsonl files, or a folder that holds some")
    try:
        files = tuple(inspect(one["uri"], one["source"], one["size"], columns, Limits()) for one in found)
    except RowError as error:
        raise UsageError(error.message) from error
    return Tables(columns=columns, files=files)


def check_labels(task: Task, rows: Sequence[Row]) -> None:
    """Raises UsageError for the first row whose right answers do not fit; the task's processor is loaded."""
    for row in rows:
        try:
            examples_of(task, row)
        except RowError as error:
            raise UsageError(f"{row['uri']}, row {row['record']}: {error.message}") from error


def encode(
    tables: Tables, task: Task, output: str, *, takes: Takes | None = None, say: Callable[[str], None] | None = None
) -> list[tuple[str, int, Failure]]:
    """Writes ``encoded/`` anew. Returns uri, row and reason of rows that could not be encoded.

    ``takes`` is what ``task.takes()`` says; None where the task reads neither images nor recordings nor videos.
    ``say`` is told where the cluster has no room for long. Raises UsageError where no row could be encoded, with the
    first one's reason.
    """
    storage = open_storage(output)
    for entry in list(storage.list(f"{FOLDER}/")):
        storage.delete(entry.name)
    gold = tuple(name for name in task.gold if name in tables.columns.needs)
    stages = (*from_table(task, tables.columns, Settings(), takes=takes), Encode(task=task, gold=gold, output=output))
    pool = Pool(stages=stages, num_cpus=1.0, batch_rows=1)
    told: list[pa.Table] = []
    with watched([pool], say or log.info) as came:
        for one in ray_data.stream(tables.slices(part_rows(takes)), [pool]):
            came()
            told.append(one.select(_RECEIPT))  # rows that were refused carry all columns
    receipts = pa.concat_tables(told)
    if receipts.num_rows != tables.rows:
        raise UsageError(
            f"only {receipts.num_rows} of {tables.rows} training rows were encoded: a worker died on the others; "
            "see Ray's logs",
        )
    failed = receipts.filter(pc.is_valid(receipts["failure"])).to_pylist()
    refused = [(row["uri"], row["record"], Failure(**row["failure"])) for row in failed]
    if len(refused) == tables.rows:
        uri, row, failure = refused[0]
        raise UsageError(f"no training row can be used; {uri}, row {row}: {failure.message}")
    return refused


def summary(refused: Sequence[tuple[str, int, Failure]]) -> str:
    """One line on rows that were left out."""
    uri, row, failure = refused[0]
    return f"{len(refused)} training rows left out; the first is row {row} of {uri}: {failure.message}"
