"""Rows of a table's file by their ordinals, read on from where the last ones ended.

A table is read slice by slice, each a task of its own, and a slice may lie anywhere in the file. JSONL has remembered
offsets. Parquet has none within a row group, which may hold a million rows: decoding it anew for each slice is
quadratic (24,000 small images in one group took 345 s to encode, and 104 s since), so a worker keeps its place in the
file.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from stages.errors import Code, RowError
from stages.table_columns import Columns

Values: TypeAlias = list[dict[str, object] | RowError]
STRIDE = 4096
"""Lines between two remembered offsets of a JSONL file."""
BATCH_BYTES, BATCH_ROWS = 4 << 20, 4096
"""About so much of a row group is decoded at a time."""


class TableRows(Protocol):
    """A table's file that stays open between slices."""

    def take(self, ordinals: Sequence[int], offset: int) -> Values:
        """The rows of these rising ordinals; the slice that they are of begins at the byte ``offset``."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


def open_rows(uri: str, path: Path, columns: Columns) -> TableRows:
    """The rows of the table ``uri``, which lies at ``path``; of their columns those in ``columns``."""
    return ParquetRows(path, columns) if uri.endswith(".parquet") else JsonlRows(path, columns)


class JsonlRows:
    """A line a row."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._file, self._columns = path.open("rb"), columns
        self._at = 0
        """The ordinal of the line where the file stands."""

    def take(self, ordinals: Sequence[int], offset: int) -> Values:
        """Looks from where the last rows ended, or from ``offset``: there begins the line of the multiple of ``STRIDE``
        before them."""
        rows: Values = []
        begin = ordinals[0] // STRIDE * STRIDE
        if not begin <= self._at <= ordinals[0]:
            self._file.seek(offset)
            self._at = begin
        for ordinal in ordinals:
            while self._at < ordinal:
                self._line()
            rows.append(_parse(self._line(), ordinal, self._columns))
        return rows

    def _line(self) -> bytes:
        self._at += 1
        return self._file.readline()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _parse(line: bytes, ordinal: int, columns: Columns) -> dict[str, object] | RowError:
    try:
        value = json.loads(line)
    except ValueError as error:
        return RowError(Code.DECODE_FAILED, f"line {ordinal + 1} is not JSON", detail=str(error))
    if not isinstance(value, dict):
        return RowError(Code.DECODE_FAILED, f"line {ordinal + 1} is not a JSON object")
    return picked(value, columns)


def picked(value: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """What a row in JSON has of ``columns`` and ``uri``, by our names; nulls are left out."""
    names = ("uri", *columns.all)
    return {name: found for name in names if (found := _dig(value, columns.path(name))) is not None}


def _dig(value: object, path: Sequence[str]) -> object:
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


class ParquetRows:
    """Holds a few megabytes of one row group at a time, and goes on in it; only to go back it begins it again."""

    def __init__(self, path: Path, columns: Columns) -> None:
        # Neither whole row groups in memory (pre_buffer) nor whole columns (buffer_size 0).
        self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        names = columns.wanted(self._file.schema_arrow.names, str(path))
        self._paths = {name: columns.path(name) for name in names}
        self._tops = sorted({path[0] for path in self._paths.values()})
        told = self._file.metadata
        groups = [told.row_group(group) for group in range(told.num_row_groups)]
        self._begins = [0, *accumulate(group.num_rows for group in groups)]
        of_a_row = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
        self._batch_rows = min(max(BATCH_BYTES // max(of_a_row, 1), 1), BATCH_ROWS)
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._group, self._first, self._end = -1, 0, 0
        self._held: pa.RecordBatch | None = None

    def take(self, ordinals: Sequence[int], offset: int = 0) -> Values:  # noqa: ARG002  # JSONL's
        """Rows come from the place where the last ones ended, if they lie behind it."""
        rows: Values = []
        at = 0
        while at < len(ordinals):
            batch = self._holding(ordinals[at])
            end = bisect_left(ordinals, self._end, at)
            some = batch.take(pa.array([ordinal - self._first for ordinal in ordinals[at:end]], pa.int64()))
            rows += [{name: _dig(row, path) for name, path in self._paths.items()} for row in some.to_pylist()]
            at = end
        return rows

    def _holding(self, ordinal: int) -> pa.RecordBatch:
        """The batch with this row."""
        group = bisect_right(self._begins, ordinal) - 1
        if ordinal < self._first or group != self._group:
            self._batches = self._file.iter_batches(self._batch_rows, row_groups=[group], columns=self._tops)
            self._group, self._end = group, self._begins[group]
        while self._held is None or not self._first <= ordinal < self._end:
            self._held = next(self._batches)
            self._first, self._end = self._end, self._end + self._held.num_rows
        return self._held

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
