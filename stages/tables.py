"""Tables as a way in: the rows of ``.parquet`` and ``.jsonl`` files whose columns a task reads directly.

The driver cuts a table into slices of rows (``slices``); ``ReadTable`` reads one slice on a worker. A value of another
type than its column fails its row alone, not the slice. A dotted path takes a column from inside a nested one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from stages.base import Stage, Worker, failures_column
from stages.columns import COLUMNS, SENSED
from stages.errors import Code, Failure, RowError, UsageError
from stages.fetch import fetched
from stages.keys import row_source
from stages.settings import Limits

SLICE = pa.schema(
    [
        *(COLUMNS[name].field for name in ("uri", "source", "size", "doc_id", "pages")),
        ("first", pa.int64()),
        ("count", pa.int64()),
        ("offset", pa.int64()),
        ("named", pa.bool_()),
        ("only", pa.list_(pa.int64())),
    ],
)
"""One slice: ``count`` rows from ordinal ``first``; ``offset`` is the byte where a JSONL slice begins; ``named`` tells
that rows carry a ``uri`` of their own; ``only`` are the ordinals that are wanted of it, null for all."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns a task takes from a table, and from where."""

    needs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """``--map column=path``; a column without one is looked for under its own name."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Columns of which a later stage makes a needed one, by the needed one's name: ``words`` of an ``image``."""

    def path(self, name: str) -> list[str]:
        """Where the column ``name`` lies in the table, outermost first."""
        return self.paths.get(name, name).split(".")

    def wanted(self, there: Sequence[str], uri: str) -> tuple[str, ...]:
        """The columns to read from a table with the top columns ``there``. Raises UsageError for a needed one."""
        found = [name for name in ("uri", *self.needs, *self.optional) if self._there(name, there)]
        for name in self.needs:
            other = self.instead.get(name)
            if name not in found and other is not None and self._there(other, there):
                found.append(other)
            elif name not in found:
                of = f" and no {self.called(other)!r} to make it of" if other else ""
                raise UsageError(
                    f"{uri} has no column {self.called(name)!r}{of}, which the task needs as {name!r}; "
                    f"it has: {', '.join(there) or 'none'}. Name the right one with --map {other or name}=COLUMN",
                )
        return tuple(dict.fromkeys(found))

    def _there(self, name: str, there: Sequence[str]) -> bool:
        return self.path(name)[0] in there

    def called(self, name: str) -> str:
        """What a table calls the column ``name``."""
        return ".".join(self.path(name))

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is looked at."""
        return tuple(dict.fromkeys((*self.needs, *self.optional, *self.instead.values())))


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table as the driver sees it before any row is read."""

    uri: str
    source: str
    size: int
    doc_id: str
    rows: int
    columns: tuple[str, ...]
    """The task's columns that it has."""
    named: bool
    """Whether the rows carry a uri of their own."""
    offsets: tuple[int, ...]
    """Byte offset of every ``STRIDE``-th line of a JSONL file; empty for Parquet."""

    def slices(self, runs: Sequence[tuple[int, int]], most: int, only: Callable[[int], bool] | None = None) -> pa.Table:
        """The row ranges ``runs`` (first, count) cut to slices of at most ``most`` rows, as a SLICE table.

        ``only`` tells by a row's ordinal whether it is wanted.
        """
        cut = [
            (at, min(most, first + count - at, STRIDE - at % STRIDE if self.offsets else count))
            for first, count in runs
            for at in _starts(first, count, most, STRIDE if self.offsets else 0)
        ]
        rows = [
            {
                **{name: getattr(self, name) for name in ("uri", "source", "size", "doc_id", "named")},
                "pages": self.rows,
                "first": first,
                "count": count,
                "offset": self.offsets[first // STRIDE] if self.offsets else 0,
                "only": None if only is None else list(filter(only, range(first, first + count))),
            }
            for first, count in cut
        ]
        rows = [row for row in rows if row["only"] != []]
        return pa.Table.from_pylist(rows, schema=SLICE)


STRIDE = 4096
"""Lines between two remembered offsets of a JSONL file."""


def _starts(first: int, count: int, most: int, stride: int) -> Iterator[int]:
    at = first
    while at < first + count:
        yield at
        at += min(most, stride - at % stride if stride else most)


def inspect(uri: str, source: str, size: int, columns: Columns, limits: Limits) -> TableFile:
    """Counts the rows of a table and checks its columns. Raises UsageError for a missing column, RowError for a file
    that cannot be read."""
    with fetched(uri, size, limits) as path:
        digest = _sha256(path)
        if uri.endswith(".parquet"):
            try:
                with pq.ParquetFile(path) as parquet:
                    rows, names = parquet.metadata.num_rows, list(parquet.schema_arrow.names)
                offsets: tuple[int, ...] = ()
            except pa.ArrowInvalid as error:
                raise RowError(Code.CORRUPT, f"not a Parquet file: {uri}", detail=str(error)) from error
        else:
            rows, names, offsets = _scan_jsonl(path)
    if not rows:
        raise RowError(Code.EMPTY, f"the table has no rows: {uri}")
    wanted = columns.wanted(names, uri)
    return TableFile(
        uri=uri,
        source=source,
        size=size,
        doc_id=digest,
        rows=rows,
        columns=wanted,
        named="uri" in wanted,
        offsets=offsets,
    )


def values_of(file: TableFile, name: str, limits: Limits) -> list[object]:
    """What the column (or dotted path) ``name`` holds, row by row; None where a row has nothing there."""
    columns = Columns(needs=(), optional=(name,))
    with fetched(file.uri, file.size, limits) as path:
        rows = _reader(file.uri)(path, range(file.rows), 0, columns)
    return [None if isinstance(row, RowError) else row.get(name) for row in rows]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _scan_jsonl(path: Path) -> tuple[int, list[str], tuple[int, ...]]:
    """Rows, top-level names of the first 100 lines that parse, and the offset of every STRIDE-th line."""
    names: dict[str, None] = {}
    offsets, at, rows = [], 0, 0
    with path.open("rb") as file:
        for line in file:
            if rows % STRIDE == 0:
                offsets.append(at)
            if rows < 100:
                names |= dict.fromkeys(_keys(line))
            at += len(line)
            rows += 1
    return rows, list(names), tuple(offsets)


def _keys(line: bytes) -> list[str]:
    try:
        value = json.loads(line)
    except ValueError:
        return []
    return list(value) if isinstance(value, dict) else []


@dataclass(frozen=True, kw_only=True)
class ReadTable(Stage):
    """Reads slices of tables to rows with the task's columns."""

    columns: Columns
    limits: Limits

    name = "table"
    reads = ("uri", "source", "doc_id", "pages")

    @property
    def writes(self) -> tuple[str, ...]:
        """The task's columns and the row's ordinal."""
        return ("page", "record", "failure", *self.columns.all)

    def open(self) -> Worker:
        """Nothing heavy: files are opened a slice at a time."""
        return _TableReader(self)


class _TableReader:
    def __init__(self, stage: ReadTable) -> None:
        self._columns, self._limits = stage.columns, stage.limits

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for one in rows.to_pylist():
            with fetched(one["uri"], one["size"], self._limits) as path:
                ordinals = one["only"] or range(one["first"], one["first"] + one["count"])
                values = _reader(one["uri"])(path, ordinals, one["offset"], self._columns)
            yield self._typed(one, ordinals, values)

    def close(self) -> None:
        """Nothing stays open."""

    def _typed(
        self,
        one: Mapping[str, object],
        ordinals: Sequence[int],
        rows: Sequence[Mapping[str, object] | RowError],
    ) -> pa.Table:
        """The slice's rows as a table with the declared types; rows that do not fit carry their failure."""
        names = (*self._columns.all, "uri") if one["named"] else self._columns.all
        arrays, failures = typed(rows, names, self._columns, table=str(one["uri"]))
        count = len(rows)
        uri, source = str(one["uri"]), str(one["source"])
        uris = arrays.pop("uri").fill_null(uri) if one["named"] else pa.array([uri] * count, pa.string())
        table = {
            "uri": uris,
            "source": pa.array([row_source(source, uri) if one["named"] else source] * count, pa.string()),
            **{name: pa.array([one[name]] * count, COLUMNS[name].type) for name in ("doc_id", "pages")},
            "page": pa.array([1] * count, pa.int32()),
            "record": pa.array(ordinals, pa.int64()),
            **arrays,
            "failure": failures_column(failures),
        }
        return pa.table(table)


def typed(
    rows: Sequence[Mapping[str, object] | RowError], names: Sequence[str], columns: Columns, *, table: str = ""
) -> tuple[dict[str, pa.Array], list[Failure | None]]:
    """The columns ``names`` of rows with their declared types, and why a row has none.

    ``table``: where the rows come from; the paths of images are told from its folder on.
    """
    failures: list[Failure | None] = [row.failure("table") if isinstance(row, RowError) else None for row in rows]
    arrays: dict[str, pa.Array] = {}
    for name in names:
        values = [None if isinstance(row, RowError) else row.get(name) for row in rows]
        if name in SENSED.values():
            values = [_located(value, table) for value in values]
        if name in columns.needs:
            _check_there(name, rows, columns, failures)
        arrays[name] = _array(name, values, failures)
    return arrays, failures


def _check_there(
    name: str, rows: Sequence[Mapping[str, object] | RowError], columns: Columns, failures: list[Failure | None]
) -> None:
    """Sets the failure of rows that lack a needed value, and what it could be made of."""
    other = columns.instead.get(name, name)
    for i, row in enumerate(rows):
        if isinstance(row, RowError) or failures[i] is not None:
            continue
        if row.get(name) is None and row.get(other) is None:
            failures[i] = RowError(Code.ENCODE_FAILED, f"the column {other!r} is null").failure("table")


def _located(value: object, table: str) -> object:
    """A file's path as seen from where its table lies; a file itself as it is, also where it stands with its name, as
    the library datasets writes images and recordings."""
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
        value = value["path"] if value["bytes"] is None else value["bytes"]
    if not isinstance(value, str) or value.startswith(("/", "s3://", "file://")):
        return value
    return f"{table.rpartition('/')[0]}/{value}" if "/" in table else value


_NOT_OF_TYPE = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError)
"""What Arrow raises for a value of another type; the last for half a surrogate pair, which JSON can hold."""


def _array(name: str, values: list[object], failures: list[Failure | None]) -> pa.Array:
    """The column with its declared type; values that do not fit set their row's failure and become null."""
    kind = COLUMNS[name].type
    try:
        return pa.array(values, kind)
    except _NOT_OF_TYPE:
        pass  # one value at a time, to name the rows that do not fit
    for i, value in enumerate(values):
        try:
            pa.array([value], kind)
        except _NOT_OF_TYPE as error:
            message = f"the column {name!r} is not {kind}"
            failures[i] = failures[i] or RowError(Code.ENCODE_FAILED, message, detail=str(error)).failure("table")
            values[i] = None
    return pa.array(values, kind)


_Values: TypeAlias = list[dict[str, object] | RowError]


def _reader(uri: str) -> Callable[[Path, Sequence[int], int, Columns], _Values]:
    """What reads rows by their ordinals, in rising order, from a table whose slice begins at a byte."""
    return _read_parquet if uri.endswith(".parquet") else _read_jsonl


def _read_jsonl(path: Path, ordinals: Sequence[int], offset: int, columns: Columns) -> _Values:
    rows: _Values = []
    at = ordinals[0] // STRIDE * STRIDE
    with path.open("rb") as file:
        file.seek(offset)
        for ordinal in ordinals:
            for _ in range(at, ordinal):
                file.readline()
            rows.append(_parse(file.readline(), ordinal, columns))
            at = ordinal + 1
    return rows


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


def _read_parquet(path: Path, ordinals: Sequence[int], _: int, columns: Columns) -> _Values:
    first, end = ordinals[0], ordinals[-1] + 1
    with pq.ParquetFile(path) as file:
        names = columns.wanted(file.schema_arrow.names, str(path))
        tops = sorted({columns.path(name)[0] for name in names})
        groups, start, skipped = [], 0, 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if start < end and start + rows > first:
                groups.append(group)
            elif start + rows <= first:
                skipped += rows
            start += rows
        table = file.read_row_groups(groups, columns=tops).slice(first - skipped, end - first)
    if len(ordinals) < table.num_rows:
        table = table.take([ordinal - first for ordinal in ordinals])
    return [{name: _dig(row, columns.path(name)) for name in names} for row in table.to_pylist()]
