"""What the stages that bring images, recordings and videos to a model share (image.py, audio.py, video.py).

Each turns one file, or one page of it, into one value in the model's own size, through a sandbox of its own. Large
values are handed on in small tables, so that a batch of long recordings is never whole in memory.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from stages.base import Row, Stage, failures_column, set_column
from stages.columns import COLUMNS
from stages.errors import Failure, RowError
from stages.fetch import fetched, given
from stages.sandbox import Sandbox
from stages.settings import Settings

TOTAL = 10
"""Times the limit without progress that one call may take in all; the child's word on progress is not trusted."""
HANDED_ON = 64 << 20
"""Bytes of values after which a table is handed on."""


@dataclass(frozen=True, kw_only=True)
class Sense(Stage):
    """Fills one column from files: of documents, or of a table's columns."""

    settings: Settings
    columns: Mapping[str, str] = field(default_factory=dict)
    """Of a table: each column to fill, and the one that holds its file; empty for documents."""
    column: ClassVar[str]
    """What is filled for a document."""
    paged: ClassVar[bool] = False
    """Whether documents come page by page, from ``stages.plan``; else each is one row, told by its listing."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Which page of what, or the table's files."""
        return tuple(self.columns.values()) or (("uri", "page") if self.paged else ("uri", "size", "done"))

    @property
    def writes(self) -> tuple[str, ...]:
        """What the model takes; of a document that was not planned, also what planning would say."""
        told = () if self.paged or self.columns else ("doc_id", "page", "pages")
        return (*(self.columns or (self.column,)), *told, "failure")

    @property
    def drops(self) -> tuple[str, ...]:
        """The files, which may be a hundred times as large."""
        return tuple(self.columns.values()) or (() if self.paged else ("done",))

    @abstractmethod
    def open(self) -> Senses:
        """Starts nothing: the child comes with the first file."""


class Senses:
    """A ``Sense`` at work."""

    def __init__(self, stage: Sense, sandbox: Sandbox) -> None:
        self._stage, self.sandbox = stage, sandbox

    @abstractmethod
    def sense(self, path: str, page: int) -> Row:
        """The value of one file. Raises RowError."""

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """The rows with their values, in tables of bounded size."""
        rest = rows.drop_columns(list(self._stage.drops))
        held: list[Row | Failure] = []
        size, start = 0, 0
        for at, row in enumerate(_rows(rows, self._stage.reads)):
            held.append(self._row(row))
            size += _bytes(held[-1])
            if size > HANDED_ON or at == rows.num_rows - 1:
                yield self._answered(rest.slice(start, len(held)), held)
                held, size, start = [], 0, at + 1

    def _answered(self, rows: pa.Table, answers: list[Row | Failure]) -> pa.Table:
        for name in self._stage.writes[:-1]:
            values = [None if isinstance(one, Failure) else one.get(name) for one in answers]
            rows = set_column(rows, name, pa.array(values, COLUMNS[name].type))
        failures = [one if isinstance(one, Failure) else None for one in answers]
        return set_column(rows, "failure", failures_column(failures))

    def _row(self, row: Row) -> Row | Failure:
        stage = self._stage
        try:
            if stage.columns:
                given_ = {name: source for name, source in stage.columns.items() if row[source] is not None}
                return {name: self._given(row[source], source) for name, source in given_.items()}
            size = row.get("size")
            with fetched(str(row["uri"]), size if isinstance(size, int) else None, stage.settings.limits) as path:
                page = row.get("page")
                found: Row = {stage.column: self.sense(str(path), page if isinstance(page, int) else 1)}
                if not stage.paged:
                    with path.open("rb") as file:
                        found |= {"doc_id": hashlib.file_digest(file, "sha256").hexdigest(), "page": 1, "pages": 1}
                return found
        except RowError as error:
            return error.failure(stage.name)

    def _given(self, value: object, source: str) -> Row:
        with given(value, source, self._stage.settings.limits) as path:
            return self.sense(str(path), 1)

    def close(self) -> None:
        """Ends the child."""
        self.sandbox.close()


def file_key(path: str) -> str:
    """What tells a child whether it has this file: its path and version."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return path  # the sandbox says what is wrong with it
    return f"{path}\n{status.st_ino}\n{status.st_size}\n{status.st_mtime_ns}"


def _rows(rows: pa.Table, names: tuple[str, ...]) -> Iterator[Row]:
    """One row at a time: a table's files would be twice in memory."""
    for at in range(rows.num_rows):
        yield {name: rows[name][at].as_py() for name in names}


def _bytes(answer: Row | Failure) -> int:
    values = () if isinstance(answer, Failure) else answer.values()
    parts = (part for one in values if isinstance(one, dict) for part in one.values())
    return sum(len(part) for part in parts if isinstance(part, bytes))
