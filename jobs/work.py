"""What one pass has to do, and what has come back: documents to read, pages to reuse, slices of tables.

Ray may drop a block whose worker died. So each kind of work keeps what it planned, ticks off every receipt, and can
say what is missing as new, smaller source blocks. Nothing is done until its receipt is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

import pyarrow as pa

from stages import columns
from stages.keys import document_of
from stages.tables import TableFile


class Lost(TypedDict):
    """A row that never came back, however often it was tried."""

    uri: str
    source: str
    doc_id: str | None
    page: int | None
    record: int | None


class Work(Protocol):
    """One pass's work."""

    def blocks(self, rows: int) -> list[pa.Table]:
        """What is missing as source tables of at most ``rows`` rows each."""

    def receive(self, receipts: pa.Table) -> None:
        """Ticks off what the last pool committed."""

    @property
    def missing(self) -> int:
        """How many documents, pages or table rows have no receipt yet."""

    def lost(self) -> Iterator[Lost]:
        """What is missing, a row each, for the error table."""


@dataclass(kw_only=True)
class _Ticks:
    """The records of one document or table, ticked off; a byte each, since millions must fit."""

    records: int
    """Records a page (questions asked of it); 1 for tables."""
    done: bytearray | None = None
    """None until the number of pages is known."""
    failed: bool = False
    """The document failed as a whole."""
    before: Sequence[int] = ()
    """Pages that need no receipt, known before the number of pages is."""
    doc_id: str | None = None

    def size(self, pages: int) -> None:
        if self.done is None:
            self.done = bytearray(pages * self.records)
            for page in self.before:
                self.tick(page, None)

    def tick(self, page: int, record: int | None) -> None:
        assert self.done is not None
        start = (page - 1) * self.records
        if record is None:
            self.done[start : start + self.records] = b"\1" * self.records
        else:
            self.done[start + record % self.records] = 1

    @property
    def missing(self) -> int:
        if self.failed:
            return 0
        return 1 if self.done is None else self.done.count(0)

    def pages(self, *, done: bool) -> list[int]:
        """Pages of which all (``done``) or not all records are ticked."""
        found, ticked = self.done or b"", b"\1" * self.records
        pages = range(1, len(found) // self.records + 1)
        return [page for page in pages if (found[(page - 1) * self.records : page * self.records] == ticked) is done]


@dataclass(kw_only=True)
class DocumentWork:
    """Documents to plan, read and predict."""

    documents: pa.Table
    """uri, source, size, kind, done (pages that need no reading)."""
    records: int
    """Records a page."""
    _ticks: dict[str, _Ticks] = field(default_factory=dict)

    def __post_init__(self) -> None:
        uris, done = self.documents["uri"].to_pylist(), self.documents["done"].to_pylist()
        self._ticks = {
            uri: _Ticks(records=self.records, before=pages or ()) for uri, pages in zip(uris, done, strict=True)
        }

    def blocks(self, rows: int) -> list[pa.Table]:
        """Unfinished documents, with the pages that need no reading."""
        uris = self.documents["uri"].to_pylist()
        keep = [i for i, uri in enumerate(uris) if self._ticks[uri].missing]
        table = self.documents.take(pa.array(keep, pa.int64()))
        done = [self._before(uris[i]) for i in keep]
        at = table.schema.get_field_index("done")
        table = table.set_column(at, "done", pa.array(done, columns.COLUMNS["done"].type))
        return [table.slice(start, rows) for start in range(0, table.num_rows, rows)]

    def _before(self, uri: str) -> list[int]:
        ticks = self._ticks[uri]
        return list(ticks.before) if ticks.done is None else ticks.pages(done=True)

    def receive(self, receipts: pa.Table) -> None:
        """Ticks pages; a receipt without a page is a document that failed as a whole."""
        names = ("uri", "page", "pages", "record", "doc_id")
        for uri, page, pages, record, doc_id in zip(*(receipts[name].to_pylist() for name in names), strict=True):
            ticks = self._ticks[uri]
            ticks.doc_id = doc_id
            if page is None:
                ticks.failed = True
                continue
            ticks.size(pages)
            ticks.tick(page, record)

    @property
    def missing(self) -> int:
        """Pages without a receipt; a document of unknown length counts once."""
        return sum(ticks.missing for ticks in self._ticks.values())

    def lost(self) -> Iterator[Lost]:
        """A row for each page, or for the document where nobody could count its pages."""
        sources = self.documents["source"].to_pylist()
        for (uri, ticks), source in zip(self._ticks.items(), sources, strict=True):
            if ticks.missing:
                pages: Sequence[int | None] = [None] if ticks.done is None else ticks.pages(done=False)
                for page in pages:
                    yield Lost(uri=uri, source=source, doc_id=ticks.doc_id, page=page, record=None)


@dataclass(kw_only=True)
class ReuseWork:
    """Pages that an earlier run read, to predict without reading them again."""

    parts: pa.Table
    """part (name in pages/), rows (their indices in it), and uri, source, doc_id, page of each, all lists but part."""
    records: int
    _todo: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    _ticks: dict[tuple[str, int], set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for at, one in enumerate(self.parts.select(["uri", "page"]).to_pylist()):
            for i, key in enumerate(zip(one["uri"], one["page"], strict=True)):
                self._todo[key] = (at, i)

    def blocks(self, rows: int) -> list[pa.Table]:
        """The missing rows of each part, at most ``rows`` a block."""
        wanted: dict[int, list[int]] = {}
        for at, i in self._todo.values():
            wanted.setdefault(at, []).append(i)
        names, indices = self.parts["part"].to_pylist(), self.parts["rows"].to_pylist()
        cut = [
            (names[at], [indices[at][i] for i in some[start : start + rows]])
            for at, some in wanted.items()
            for start in range(0, len(some), rows)
        ]
        kinds = (pa.string(), pa.list_(pa.int32()))
        return [
            pa.table({"part": pa.array([name], kinds[0]), "rows": pa.array([some], kinds[1])}) for name, some in cut
        ]

    def receive(self, receipts: pa.Table) -> None:
        """Ticks off pages, once all their records are here."""
        names = ("uri", "page", "record")
        for uri, page, record in zip(*(receipts[name].to_pylist() for name in names), strict=True):
            ticks = self._ticks.setdefault((uri, page), set())
            ticks.update(range(self.records) if record is None else [record])
            if len(ticks) == self.records:
                self._todo.pop((uri, page), None)
                self._ticks.pop((uri, page))

    @property
    def missing(self) -> int:
        """Pages without all their receipts."""
        return len(self._todo)

    def lost(self) -> Iterator[Lost]:
        """A row a page."""
        rows = self.parts.select(["source", "doc_id"]).to_pylist() if self._todo else []
        for (uri, page), (at, i) in self._todo.items():
            one = rows[at]
            yield Lost(uri=uri, source=one["source"][i], doc_id=one["doc_id"][i], page=page, record=None)


@dataclass(kw_only=True)
class TableWork:
    """Rows of tables to predict."""

    tables: Sequence[TableFile]
    done: Sequence[Sequence[tuple[int, int]]]
    """Row ranges (first, count) of each table that an earlier run finished."""
    _ticks: list[bytearray] = field(default_factory=list)
    _index: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table, ranges in zip(self.tables, self.done, strict=True):
            ticks = bytearray(table.rows)
            for first, count in ranges:
                ticks[first : first + count] = b"\1" * count
            self._ticks.append(ticks)
        self._index = {(table.uri, table.source): i for i, table in enumerate(self.tables)}

    def blocks(self, rows: int) -> list[pa.Table]:
        """Missing rows as slices, one a block."""
        slices = [
            table.slices(_runs(ticks), rows)
            for table, ticks in zip(self.tables, self._ticks, strict=True)
            if 0 in ticks
        ]
        return [table.slice(i, 1) for table in slices for i in range(table.num_rows)]

    def slices(self, rows: int) -> int:
        """How many slices of ``rows`` rows the missing ones fill."""
        return sum(-(-ticks.count(0) // rows) for ticks in self._ticks)

    def receive(self, receipts: pa.Table) -> None:
        """Ticks off rows by their ordinal."""
        names = ("uri", "source", "record")
        for uri, source, record in zip(*(receipts[name].to_pylist() for name in names), strict=True):
            self._ticks[self._index[document_of(uri, source)]][record] = 1

    @property
    def missing(self) -> int:
        """Rows without a receipt."""
        return sum(ticks.count(0) for ticks in self._ticks)

    def lost(self) -> Iterator[Lost]:
        """A row each."""
        for table, ticks in zip(self.tables, self._ticks, strict=True):
            for first, count in _runs(ticks):
                for record in range(first, first + count):
                    yield Lost(uri=table.uri, source=table.source, doc_id=table.doc_id, page=1, record=record)


def _runs(ticks: bytearray) -> list[tuple[int, int]]:
    """The unticked ranges (first, count)."""
    runs, at = [], ticks.find(0)
    while at >= 0:
        end = ticks.find(1, at)
        end = len(ticks) if end < 0 else end
        runs.append((at, end - at))
        at = ticks.find(0, end)
    return runs
