"""Plan: a listed document → one row a page that is not done. Opens it in the sandbox, renders nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from stages.base import Stage, Worker, failures_column, set_column
from stages.columns import COLUMNS
from stages.errors import Failure, RowError
from stages.fetch import fetched
from stages.reading import READER, count_pages, open_sandbox
from stages.sandbox import SandboxLimits
from stages.settings import Settings

_ROWS = 4_096
"""Rows after which a table is handed on."""


@dataclass(frozen=True, kw_only=True)
class Plan(Stage):
    """Tells what a document is by its content, counts its pages, and yields those that are not in ``done``.

    A document that cannot be opened is one row without a page, with its ``failure``.
    """

    name: ClassVar[str] = "plan"
    settings: Settings
    target: str = READER
    """What runs in the sandbox."""
    limits: SandboxLimits | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """A listed document."""
        return ("uri", "source", "size", "kind", "done")

    @property
    def writes(self) -> tuple[str, ...]:
        """Its pages."""
        return ("doc_id", "page", "pages", "failure")

    @property
    def drops(self) -> tuple[str, ...]:
        """The list of finished pages, which would be repeated on every row."""
        return ("done",)

    def open(self) -> Worker:
        """Starts nothing: the child comes with the first document."""
        return _Plan(self)


class _Plan:
    def __init__(self, stage: Plan) -> None:
        self._stage = stage
        self._sandbox = open_sandbox(stage.settings, target=stage.target, limits=stage.limits)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        held: list[pa.Table] = []
        for index in range(rows.num_rows):
            for table in self._pages(rows.slice(index, 1)):
                held.append(table)
                if sum(one.num_rows for one in held) >= _ROWS:
                    yield pa.concat_tables(held)
                    held = []
        if held:
            yield pa.concat_tables(held)

    def _pages(self, row: pa.Table) -> Iterator[pa.Table]:
        """One document's rows."""
        uri, size, done = (row[name][0].as_py() for name in ("uri", "size", "done"))
        doc_id: str | None = None
        try:
            with fetched(uri, size, self._stage.settings.limits) as path:
                with path.open("rb") as file:
                    doc_id = hashlib.file_digest(file, "sha256").hexdigest()
                pages = count_pages(self._sandbox, str(path), self._stage.settings)
        except RowError as error:
            yield _rows(row, doc_id, np.array([0], np.int32), None, error.failure(Plan.name))
            return
        left = np.setdiff1d(np.arange(1, pages + 1, dtype=np.int32), np.asarray(done or [], np.int32))
        for start in range(0, len(left), _ROWS):
            yield _rows(row, doc_id, left[start : start + _ROWS], pages, None)

    def close(self) -> None:
        """Ends the child."""
        self._sandbox.close()


def _rows(
    row: pa.Table,
    doc_id: str | None,
    numbers: np.ndarray[tuple[int], np.dtype[np.int32]],
    pages: int | None,
    failure: Failure | None,
) -> pa.Table:
    """``row`` once a page; ``pages`` is None for a document that failed."""
    count = len(numbers)
    table = row.drop_columns(["done"]).take(pa.array(np.zeros(count, np.int64)))
    columns = {
        "doc_id": pa.array([doc_id] * count, COLUMNS["doc_id"].type),
        "page": pa.array(numbers if pages is not None else [None] * count, COLUMNS["page"].type),
        "pages": pa.array([pages] * count, COLUMNS["pages"].type),
        "failure": failures_column([failure] * count),
    }
    for name, values in columns.items():
        table = set_column(table, name, values)
    return table
