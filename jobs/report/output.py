"""Reading what runs left in an output: Parquet parts and run records, local or on S3, without loading a whole table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from jobs.record import RunRecord
from stages.errors import UsageError, first_line
from stages.storage import Entry, LocalStorage, Storage, open_storage

TABLES = ("pages", "results", "documents", "errors")
"""The folders of an output that hold Parquet parts."""

_RECORD = TypeAdapter(RunRecord)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Parquet file of a table."""

    storage: Storage
    entry: Entry

    @property
    def path(self) -> str:
        """For people."""
        return f"{self.storage.uri}/{self.entry.name}"

    @contextmanager
    def open(self) -> Iterator[pq.ParquetFile]:
        """Raises UsageError where the file cannot be read as Parquet."""
        try:
            with self.storage.open_input(self.entry.name, self.entry.size) as stream:
                yield pq.ParquetFile(stream)
        except (pa.ArrowInvalid, OSError) as error:
            cause = first_line(error)
            raise UsageError(
                f"{self.path} cannot be read ({cause}): delete it and run again, which makes it anew"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some rows of one part."""

    part: Part
    start: int
    """Ordinal of the first row in the part."""
    rows: pa.RecordBatch


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output folder."""

    uri: str
    """As a person gave it."""
    storage: Storage
    parts: Mapping[str, Sequence[Part]]
    """Parquet parts a table, sorted by name; only tables that are there."""
    runs: Sequence[RunRecord]
    """Oldest first."""

    @property
    def run(self) -> RunRecord:
        """The newest run; an empty record where none is left."""
        return self.runs[-1] if self.runs else RunRecord(run_id="", family="", task="", status="unknown")

    def schema(self, table: str) -> pa.Schema:
        """The columns of a table; no columns where it has no parts."""
        for part in self.parts.get(table, ()):
            with part.open() as file:
                return file.schema_arrow
        return pa.schema([])

    def count(self, table: str) -> int:
        """Rows of a table, from the parts' footers."""
        found = 0
        for part in self.parts.get(table, ()):
            with part.open() as file:
                found += file.metadata.num_rows
        return found

    def scan(self, table: str, columns: Sequence[str]) -> Iterator[Block]:
        """All rows, a few thousand at a time; columns that a part lacks are nulls."""
        for part in self.parts.get(table, ()):
            with part.open() as file:
                kept = [name for name in columns if name in file.schema_arrow.names]
                start = 0
                for batch in file.iter_batches(batch_size=8192, columns=kept):
                    yield Block(part=part, start=start, rows=_with(batch, columns))
                    start += batch.num_rows

    def head(self, table: str, rows: int, *, without: Sequence[str] = ()) -> pa.Table:
        """The first rows of a table, without the named columns."""
        schema = self.schema(table)
        names = [name for name in schema.names if name not in without]
        batches, missing = [], rows
        for block in self.scan(table, names):
            batches.append(pa.Table.from_batches([block.rows.slice(0, missing)]))
            missing -= batches[-1].num_rows
            if missing <= 0:
                break
        empty = pa.schema([schema.field(name) for name in names]).empty_table()
        return pa.concat_tables([empty, *batches], promote_options="permissive")


def take(part: Part, rows: Sequence[int]) -> pa.Table:
    """Chosen rows of one part; only the row groups that hold them are read."""
    with part.open() as file:
        start, found = 0, [file.schema_arrow.empty_table()]
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            wanted = [row - start for row in rows if start <= row < start + count]
            if wanted:
                found.append(file.read_row_group(group).take(wanted))
            start += count
        return pa.concat_tables(found)


def open_output(uri: str, pages: str | None = None) -> Output:
    """The output at ``uri``, with pages/ kept at ``pages`` (None: where its last run says, else in the output).

    Raises UsageError where there is none, or where it holds something else.
    """
    storage = open_storage(uri)
    if isinstance(storage, LocalStorage) and not storage.root.is_dir():
        what = "is a file" if storage.root.exists() else "does not exist"
        raise UsageError(f"the output {uri} {what}: give the folder that was passed to manta run --output")
    runs = _runs(storage)
    pages = pages or (runs[-1].pages_uri if runs else "")
    parts = {}
    for table in TABLES:
        where = open_storage(pages) if table == "pages" and pages else storage
        if found := [Part(storage=where, entry=entry) for entry in _list(where, f"{table}/", ".parquet")]:
            parts[table] = found
    if not parts and not runs:
        raise UsageError(
            f"{uri} holds nothing that manta run wrote (no runs/, results/, pages/ or errors/): "
            "give the folder that was passed to manta run --output",
        )
    output = Output(uri=uri, storage=storage, parts=parts, runs=runs)
    _check(output)
    return output


def _check(output: Output) -> None:
    """Raises UsageError for a table of another origin."""
    for table, parts in output.parts.items():
        missing = {"uri", "code"} if table == "errors" else {"uri"}
        missing -= set(output.schema(table).names)
        if missing:
            raise UsageError(
                f"{parts[0].path} was not written by manta run (no column {min(missing)}): take it out of {output.uri}",
            )


def _list(storage: Storage, folder: str, suffix: str) -> list[Entry]:
    try:
        return sorted((one for one in storage.list(folder) if one.name.endswith(suffix)), key=lambda one: one.name)
    except (NotADirectoryError, PermissionError) as error:
        raise UsageError(f"{storage.uri}/{folder} cannot be listed: {error.strerror or error}") from error


def _runs(storage: Storage) -> list[RunRecord]:
    records = []
    for entry in _list(storage, "runs/", ".json"):
        try:
            records.append(_RECORD.validate_json(storage.read(entry.name)))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "the file"
            path = f"{storage.uri}/{entry.name}"
            raise UsageError(
                f"{path} is not a run record ({where}: {first['msg']}): delete it and try again"
            ) from error
    return sorted(records, key=lambda record: (record.started, record.run_id))


def _with(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """The columns in the order asked for, missing ones as nulls."""
    have = set(batch.schema.names)
    arrays = [batch.column(name) if name in have else pa.nulls(batch.num_rows) for name in columns]
    return pa.record_batch(arrays, names=list(columns))
