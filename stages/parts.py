"""Parquet parts: written whole with the contract's schema, and scanned by column."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.columns import SCHEMA_VERSION
from stages.errors import MantaError
from stages.keys import Ints, Mask, part_name
from stages.storage import Entry, Storage

PAGE_KEY = ("uri", "source", "page", "read_fingerprint")
RESULT_KEY = ("uri", "source", "page", "record", "fingerprint")
DOCUMENT_KEY = ("uri", "source", "record", "fingerprint")


@dataclass(frozen=True, kw_only=True)
class RunStamp:
    """What every row of a run is signed with."""

    run_id: str
    """The MLflow run, also the name of the run record."""
    family: str
    """``text`` for a run that only reads."""
    task: str
    """Empty for a run that only reads."""
    checkpoint: str
    """The checkpoint as it was named; empty for a run that only reads."""
    fingerprint: str
    """The key's last part; equal to ``read_fingerprint`` for a run that only reads."""
    read_fingerprint: str
    """What pages/ rows are signed with."""
    fence: str = ""
    """Name of the lease that the run holds on its output; writers stop once it is lost. Empty: no lease."""


def encode(table: pa.Table, schema: pa.Schema, stamp: RunStamp) -> bytes:
    """The Parquet file of ``table``. Raises TypeError where a column is not what the contract says: a bug."""
    for field in schema:
        if table.schema.field(field.name).type != field.type:
            raise TypeError(f"column {field.name} is {table.schema.field(field.name).type}, declared as {field.type}")
    about = {f"manta.{name}": value for name, value in asdict(stamp).items() if name != "fence"}
    about["manta.schema"] = str(SCHEMA_VERSION)
    return parquet_bytes(table.select(schema.names).cast(schema).replace_schema_metadata(about))


def parquet_bytes(table: pa.Table) -> bytes:
    """The Parquet file of ``table``, its metadata included."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def rows_of(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of some columns as tuples. Any (a row's values have their columns' types)."""
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def commit(
    storage: Storage, folder: str, table: pa.Table, schema: pa.Schema, key: Sequence[str], stamp: RunStamp
) -> str:
    """Writes ``table`` as one part of ``folder`` and returns its name."""
    name = part_name(folder, rows_of(table, key))
    storage.put(name, encode(table, schema, stamp))
    return name


def scan(
    storage: Storage,
    folder: str,
    columns: Sequence[str] | None,
    *,
    only: Sequence[str] | None = None,
    skip: Mapping[str, str] | None = None,
) -> Iterator[tuple[Entry, pa.Table]]:
    """Every part (or those named in ``only``) in order of name, with these columns (all for None); without those in
    ``skip`` (name to version) and those that vanish meanwhile. Holds a few parts at once."""
    named = (Entry(name=name, size=-1, version="") for name in only or ())
    entries = storage.list(f"{folder}/") if only is None else named
    waiting: deque[tuple[Entry, Future[pa.Table | None]]] = deque()
    with ThreadPoolExecutor(storage.parallel) as pool:
        for entry in entries:
            if entry.name.endswith(".parquet") and (skip is None or skip.get(entry.name) != entry.version):
                waiting.append((entry, pool.submit(read_part, storage, entry, columns)))
            if len(waiting) > storage.parallel:
                yield from _ready(waiting)
        while waiting:
            yield from _ready(waiting)


def _ready(waiting: deque[tuple[Entry, Future[pa.Table | None]]]) -> Iterator[tuple[Entry, pa.Table]]:
    entry, future = waiting.popleft()
    table = future.result()
    if table is not None:
        yield entry, table


def read_part(storage: Storage, entry: Entry, columns: Sequence[str] | None) -> pa.Table | None:
    """The part's columns (all for None), or None where it is gone. Raises MantaError where it is not Parquet."""
    try:
        with (
            storage.open_input(entry.name, entry.size if entry.size >= 0 else None) as file,
            pq.ParquetFile(file) as parquet,
        ):
            return parquet.read(list(columns) if columns is not None else None, use_threads=False)
    except FileNotFoundError:
        return None
    except pa.ArrowInvalid as error:
        raise MantaError(f"{storage.uri}/{entry.name} is not a Parquet part: move it away and run again") from error


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of several parts together, since many parts are small."""

    table: pa.Table
    entries: tuple[Entry, ...]
    """The parts, in order."""
    part: Ints
    """Of every row, the index of its part in ``entries``."""
    row: Ints
    """Of every row, its index in its part."""


def scan_blocks(
    storage: Storage,
    folder: str,
    columns: Sequence[str],
    *,
    rows: int = 50_000,
    skip: Mapping[str, str] | None = None,
) -> Iterator[Block]:
    """``scan`` in blocks of about ``rows`` rows (more where one part has more)."""
    waiting: list[tuple[Entry, pa.Table]] = []
    count = 0
    for entry, table in scan(storage, folder, columns, skip=skip):
        waiting.append((entry, table))
        count += table.num_rows
        if count >= rows:
            yield _block(waiting)
            waiting, count = [], 0
    if count:
        yield _block(waiting)


def _block(parts: Sequence[tuple[Entry, pa.Table]]) -> Block:
    lengths = [table.num_rows for _, table in parts]
    return Block(
        table=pa.concat_tables([table for _, table in parts]),
        entries=tuple(entry for entry, _ in parts),
        part=np.repeat(np.arange(len(parts)), lengths),
        row=np.concatenate([np.arange(length) for length in lengths]),
    )


def where(table: pa.Table, which: Mask) -> pa.Table:
    """The rows of ``table`` that are meant; no copy where all are."""
    return table if which.all() else table.filter(pa.array(which))
