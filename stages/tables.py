"""Tables as a way in: the rows of ``.parquet`` and ``.jsonl`` files whose columns a task reads directly.

The driver cuts a table into slices of rows (``slices``); ``ReadTable`` reads one slice on a worker. A value of another
type than its column fails its row alone, not the slice. A dotted path takes a column from inside a nested one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.base import Stage, Worker, failures_column
from stages.columns import COLUMNS, SENSED
from stages.errors import Code, Failure, RowError
from stages.fetch import fetched
from stages.keys import row_source
from stages.settings import Limits
from stages.table_columns import Columns
from stages.table_rows import STRIDE, TableRows, open_rows

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
    with fetched(file.uri, file.size, limits) as path, closing(open_rows(file.uri, path, columns)) as table:
        rows = table.take(range(file.rows), 0)
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
        """Opens nothing: a table comes with its first slice."""
        return _TableReader(self)


class _TableReader:
    def __init__(self, stage: ReadTable) -> None:
        self._columns, self._limits = stage.columns, stage.limits
        self._open: tuple[tuple[str, str], TableRows] | None = None

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for one in rows.to_pylist():
            ordinals = one["only"] or range(one["first"], one["first"] + one["count"])
            try:
                values = self._table(one["uri"], one["doc_id"], one["size"]).take(ordinals, one["offset"])
            except BaseException:
                self.close()  # what failed half-way has lost its place
                raise
            yield self._typed(one, ordinals, values)

    def _table(self, uri: str, doc_id: str, size: int) -> TableRows:
        """The table, open since the last slice if that was of the same content."""
        if self._open is None or self._open[0] != (uri, doc_id):
            self.close()
            with fetched(uri, size, self._limits) as path:  # an open file outlives its name
                self._open = (uri, doc_id), open_rows(uri, path, self._columns)
        return self._open[1]

    def close(self) -> None:
        """Closes the table that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

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
