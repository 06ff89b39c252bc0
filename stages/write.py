"""The last stages: pages and results become Parquet parts, failures become error rows, receipts go to the driver.

A part is one batch, written whole; its name is the hash of its keys, so a batch that is done again overwrites itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from stages.base import Stage, Worker
from stages.columns import COLUMNS, ERRORS, PAGES, results_schema, schema
from stages.keys import part_name
from stages.lease import Fence
from stages.parts import PAGE_KEY, RESULT_KEY, RunStamp, commit, read_part, rows_of
from stages.storage import Entry, Storage, open_storage

__all__ = ["RECEIPT", "PagesWriter", "ResultsWriter", "RunStamp", "WritePages", "WriteResults"]

RECEIPT = ("uri", "source", "doc_id", "page", "pages", "record", "ok", "code", "reader", "part")
"""What the driver hears of every committed row, beside the ``seconds:*`` columns."""


@dataclass(frozen=True, kw_only=True)
class WritePages(Stage):
    """Commits healthy pages to pages/ and passes all rows on."""

    output: str
    """URI of the folder that holds pages/."""
    run: RunStamp

    name = "write_pages"
    reads = tuple(name for name in PAGES if name not in {"read_fingerprint", "run_id", "at"})
    writes = ()

    def open(self) -> Worker:
        """Opens the storage."""
        return PagesWriter(open_storage(self.output), self.run)


class PagesWriter:
    """``WritePages`` at work on a storage."""

    def __init__(self, storage: Storage, run: RunStamp) -> None:
        self._storage, self._run = storage, run

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Commits the batch as one part, then answers it as it came."""
        values = {"read_fingerprint": self._run.read_fingerprint, "run_id": self._run.run_id, "at": datetime.now(UTC)}
        table = _completed(rows, values, PAGES)
        if table.num_rows:
            commit(self._storage, "pages", table, schema(PAGES), PAGE_KEY, self._run)
        yield rows

    def close(self) -> None:
        """Nothing stays open."""


@dataclass(frozen=True, kw_only=True)
class WriteResults(Stage):
    """Commits results and failures, and answers receipts. Without ``answers`` pages/ is the result: only failures
    are committed."""

    output: str
    """URI of the output."""
    run: RunStamp
    answers: tuple[str, ...]
    """The task's columns; empty for a run that only reads."""

    name = "write"

    @property
    def reads(self) -> tuple[str, ...]:
        """The head of a result row, the task's columns, and ``failure``: failed rows are written too."""
        return ("uri", "source", "doc_id", "page", "pages", "failure", *self.answers)

    @property
    def writes(self) -> tuple[str, ...]:
        """What a receipt has beside the row's key."""
        return ("record", "ok", "code", "reader", "part")

    @property
    def drops(self) -> tuple[str, ...]:
        """Everything but the receipt."""
        return tuple(name for name in COLUMNS if name not in RECEIPT)

    def open(self) -> Worker:
        """Opens the storage."""
        return ResultsWriter(open_storage(self.output), self.run, self.answers)


class ResultsWriter:
    """``WriteResults`` at work on a storage."""

    def __init__(self, storage: Storage, run: RunStamp, answers: tuple[str, ...]) -> None:
        self._storage, self._run, self._answers = storage, run, answers
        self._fence = Fence(storage, run.fence)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Commits the healthy rows and the failed ones, each as one part, then answers their receipts."""
        self._fence.check()
        failed = pc.is_valid(rows["failure"])
        now = {"fingerprint": self._run.fingerprint, "run_id": self._run.run_id, "at": datetime.now(UTC)}
        for table, write in ((rows.filter(pc.invert(failed)), self._results), (rows.filter(failed), self._errors)):
            if table.num_rows:
                yield write(table, now)

    def close(self) -> None:
        """Nothing stays open."""

    def _results(self, rows: pa.Table, now: dict[str, object]) -> pa.Table:
        """A healthy row without a record is the page's only one: 0."""
        record = pc.fill_null(_column(rows, "record"), 0)
        page = pc.fill_null(rows["page"], 1)
        rows = _with(_with(rows, "record", record), "page", page)
        part = ""
        if self._answers:
            expected = results_schema(self._answers)
            table = _completed(rows, {**now, "checkpoint": self._run.checkpoint}, expected.names)
            part = commit(self._storage, "results", table, expected, RESULT_KEY, self._run)
        return _receipts(rows, ok=True, part=part)

    def _errors(self, rows: pa.Table, now: dict[str, object]) -> pa.Table:
        failure = rows["failure"].combine_chunks()
        for name in ("stage", "code", "message", "detail", "attempts"):
            rows = _with(rows, name, pc.struct_field(failure, name))
        table = self._with_earlier_attempts(_completed(rows, now, ERRORS))
        part = commit(self._storage, "errors", table, schema(ERRORS), RESULT_KEY, self._run)
        return _receipts(rows, ok=False, part=part)

    def _with_earlier_attempts(self, table: pa.Table) -> pa.Table:
        """Adds the attempts that another run left in the part which this one overwrites: it has the same keys."""
        name = part_name("errors", rows_of(table, RESULT_KEY))
        there = read_part(self._storage, Entry(name=name, size=-1, version=""), (*RESULT_KEY, "run_id", "attempts"))
        if there is None:
            return table
        known = dict(zip(rows_of(there, RESULT_KEY), rows_of(there, ("run_id", "attempts")), strict=True))
        values = []
        for key, count in zip(rows_of(table, RESULT_KEY), table["attempts"].to_pylist(), strict=True):
            run, before = known.get(key, ("", 0))
            values.append(max(count or 1, before) if run == self._run.run_id else (count or 1) + before)
        return _with(table, "attempts", pa.array(values, COLUMNS["attempts"].type))


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """The column with its declared type; nulls where the rows lack it, or hold nothing in it."""
    kind = COLUMNS[name].type
    if name not in rows.column_names or pa.types.is_null(rows[name].type):
        return pa.chunked_array([pa.nulls(rows.num_rows, kind)])
    return rows[name]


def _with(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    at = rows.schema.get_field_index(name)
    return rows.append_column(name, values) if at < 0 else rows.set_column(at, name, values)


def _completed(rows: pa.Table, values: dict[str, object], names: tuple[str, ...] | list[str]) -> pa.Table:
    """The columns ``names``: from ``values`` where they are the run's, else from the rows."""
    constant = {name: pa.repeat(pa.scalar(value, COLUMNS[name].type), rows.num_rows) for name, value in values.items()}
    return pa.table({name: constant[name] if name in constant else _column(rows, name) for name in names})


def _receipts(rows: pa.Table, *, ok: bool, part: str) -> pa.Table:
    """The receipts of rows committed to ``part``."""
    code = pa.nulls(rows.num_rows, pa.string()) if ok else rows["code"]
    ours = {"ok": pa.repeat(pa.scalar(ok), rows.num_rows), "part": pa.repeat(pa.scalar(part), rows.num_rows)}
    known = {**ours, "code": code}
    seconds = [name for name in rows.column_names if name.startswith("seconds:")]
    columns = {name: known[name] if name in known else _column(rows, name) for name in RECEIPT}
    return pa.table({**columns, **{name: rows[name] for name in seconds}})
