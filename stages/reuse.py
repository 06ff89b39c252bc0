"""Pages that an earlier run read, taken from ``pages/`` so that a new checkpoint reads no document again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from stages.base import Stage, Worker, failures_column
from stages.columns import PAGES, schema
from stages.storage import Storage, open_storage

_STAMP = ("read_fingerprint", "run_id", "at")
"""Columns of pages/ that tell of the run which read them, not of the page."""


@dataclass(frozen=True, kw_only=True)
class Reuse(Stage):
    """Reads rows (``rows``, their indices) of a part of pages/ (``part``, its name)."""

    pages: str
    """URI of the folder that holds pages/."""

    name = "reuse"
    reads = ("part", "rows")
    drops = ("part", "rows")

    @property
    def writes(self) -> tuple[str, ...]:
        """Everything that reading the pages would have given."""
        return (*(name for name in PAGES if name not in _STAMP), "failure")

    def open(self) -> Worker:
        """Opens the storage, no file yet."""
        return _Reader(open_storage(self.pages), self.writes[:-1])


class _Reader:
    def __init__(self, storage: Storage, names: tuple[str, ...]) -> None:
        self._storage, self._names = storage, names

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for one in rows.to_pylist():
            with self._storage.open_input(one["part"]) as file:
                table = pq.read_table(file, columns=list(self._names))
            table = table.take(pa.array(one["rows"], pa.int64())).select(self._names).cast(schema(self._names))
            yield table.append_column("failure", failures_column([None] * table.num_rows))

    def close(self) -> None:
        """Nothing stays open."""
