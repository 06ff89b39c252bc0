"""What a run gives back in Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.prepare import TEXT
from jobs.record import RunRecord
from stages.columns import DOCUMENT_HEAD, ERRORS, PAGES, RESULT_HEAD, schema
from stages.storage import open_storage

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_EMPTY = {"pages": PAGES, "results": RESULT_HEAD, "documents": DOCUMENT_HEAD, "errors": ERRORS}
"""The columns that a table has in any case, for one without parts."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run: its record, and its tables as pyarrow datasets that read only what is asked of them."""

    record: RunRecord
    output: str
    """URI of the folder that the run wrote."""
    pages_uri: str
    """URI of the folder that holds pages/: the output, or what ``pages`` named."""

    @property
    def exit_code(self) -> int:
        """0 done, 3 finished with error rows."""
        return self.record.exit_code

    @property
    def rows(self) -> Dataset:
        """``results/``; ``pages/`` of a run without a model."""
        return self.pages if self.record.family == TEXT else dataset(self.output, "results")

    @property
    def pages(self) -> Dataset:
        """``pages/``: words, boxes and text of every page."""
        return dataset(self.pages_uri, "pages")

    @property
    def documents(self) -> Dataset:
        """``documents/``: one row a document (and question), with its status and common answer."""
        return dataset(self.output, "documents")

    @property
    def errors(self) -> Dataset:
        """``errors/``: what could not be done, and why."""
        return dataset(self.output, "errors")

    def _repr_html_(self) -> str:
        from jobs.view import html_view

        return html_view(self.output)


def dataset(output: str, table: str) -> Dataset:
    """One table of an output, local or on S3."""
    import pyarrow.dataset as ds

    storage = open_storage(output)
    names = [entry.name for entry in storage.list(f"{table}/") if entry.name.endswith(".parquet")]
    if not names:
        return ds.dataset(pa.Table.from_pylist([], schema=schema(_EMPTY[table])))
    if not output.startswith("s3://"):
        return ds.dataset([f"{storage.uri.removeprefix('file://')}/{name}" for name in names], format="parquet")
    from stages.storage_s3 import file_system

    paths = [f"{storage.uri.removeprefix('s3://')}/{name}" for name in names]
    return ds.dataset(paths, format="parquet", filesystem=file_system())
