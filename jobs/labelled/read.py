"""Finds out what form labelled data has, and brings it into a table."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.labelled import formats as _formats
from jobs.labelled.files import IMAGES, File, files_of
from pipelines import Task
from stages.base import Row
from stages.columns import schema
from stages.errors import UsageError
from stages.listing import kind_of
from stages.storage import open_storage

FOLDER = "labelled"
"""In the output: the tables that were made of labelled data."""
ROWS_AT_ONCE = 500


class Format(Protocol):
    """A module of ``jobs/labelled/formats``."""

    ABOUT: str
    """What such data looks like, for a person whose data is not recognised."""
    COLUMNS: tuple[str, ...]
    """Columns of the rows that it makes."""
    TABLES: bool
    """Whether it is a table itself."""

    def recognises(self, files: Sequence[File], task: Task) -> bool:
        """Whether the files are of this form and made for such a task; opens few of them."""

    def rows(self, files: Sequence[File]) -> Iterator[Row]:
        """One row a page, sentence or question. Raises UsageError naming file and line."""


def formats() -> list[Format]:
    """The forms that are known: the modules of that folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(_formats.__path__))
    return [importlib.import_module(f"{_formats.__name__}.{name}") for name in names]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows lie as a table."""

    table: str
    digest: str = ""
    """32 hexadecimal digits of what was read for them, images aside; empty where the table itself was named."""


def table_of(uri: str, task: Task, output: str, name: str) -> Source:
    """The rows of ``uri`` as a table: the one that lies there, or one in ``output``/labelled, called after ``name``.

    Raises UsageError for data of no known form, and for what is wrong in it.
    """
    files = files_of(uri)
    tables = [each for each in files if kind_of(each.uri) == "table"]
    forms = [form for form in formats() if form.recognises(files, task)]
    if len(forms) > 1 or (forms and tables and not forms[0].TABLES):
        found = "; ".join([*(form.ABOUT for form in forms), *(["tables"] if tables else [])])
        raise UsageError(f"{uri} holds training data of several kinds: name the files of one. There are {found}")
    if not forms and not tables:
        known = "; ".join(form.ABOUT for form in formats())
        raise UsageError(
            f"no training table at {uri}: name .parquet or .jsonl files or a folder of them, or labelled data: {known}",
        )
    if not forms:
        return Source(table=uri)
    digest = _digest(files)
    made = f"{FOLDER}/{name}-{digest[:12]}.parquet"  # by its content: never in the way of a training at work there
    open_storage(output).put(made, _table(forms[0], files))
    return Source(table=f"{output.rstrip('/')}/{made}", digest=digest)


def _digest(files: Sequence[File]) -> str:
    parts = sorted(each.sha256() for each in files if each.suffix not in IMAGES)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _table(form: Format, files: Sequence[File]) -> bytes:
    """The rows as a Parquet file."""
    columns, sink = schema(("uri", *form.COLUMNS)), pa.BufferOutputStream()
    rows, written = form.rows(files), 0
    with pq.ParquetWriter(sink, columns, compression="zstd") as writer:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema=columns))
            written += len(some)
    if not written:
        raise UsageError(f"{files[0].uri}: the labelled data has no rows")
    return bytes(sink.getvalue().to_pybytes())
