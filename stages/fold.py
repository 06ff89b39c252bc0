"""From pages to documents: each document's row in documents/ once all its pages are in results/ or errors/.

Receipts are counted as they come in, and a document is folded as soon as its last page has been seen. Documents that
an earlier run began, and those that receipts alone do not complete, are folded at the end from the stored rows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce

import numpy as np
import pyarrow as pa

from stages import keys
from stages.base import Row
from stages.columns import documents_schema
from stages.keys import TABLE, Hashes, Mask, document_of
from stages.lease import Fence
from stages.ledger import Ledger
from stages.parts import DOCUMENT_KEY, RunStamp, commit, scan, scan_blocks
from stages.progress import signed
from stages.storage import Storage

_ERROR, _OK = 1, 2
_FLUSH_ROWS = 5_000
"""Documents of one part of documents/."""
_FLUSH_S = 30.0
"""Longest time that a finished document waits for its part, in seconds."""
_AT_ONCE = 100_000
"""Documents that are folded from stored rows in one scan."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How the pages of a document become one answer."""

    columns: tuple[str, ...] = ()
    """The task's combined columns; empty where pages have no common answer."""
    reads: tuple[str, ...] = ()
    """Columns of results/ that ``combine`` reads."""
    combine: Callable[[Row, Row], Row] | None = None
    """Two answers to one; associative."""


@dataclass(kw_only=True)
class _Document:
    """One document while its pages come in; a byte a record, since tables have millions."""

    uri: str
    source: str
    records: int
    """Records a page."""
    doc_id: str | None = None
    pages: int = 0
    whole: bool = False
    """An error row speaks for the whole document."""
    ticks: bytearray = field(default_factory=bytearray)
    parts: set[str] = field(default_factory=set)
    answers: dict[tuple[int, int], tuple[datetime, Row]] = field(default_factory=dict)
    """Newest row of each (page, record)."""

    def __post_init__(self) -> None:
        self.table = bool(TABLE.search(self.uri))
        self.records = 1 if self.table else self.records

    def saw(self, page: int | None, record: int | None, pages: int | None, *, ok: bool) -> None:
        """One row of results/ or errors/; a result weighs more than an error."""
        self.pages = max(self.pages, pages or 0)
        if page is None:
            self.whole = True
            return
        first = (page - 1) * self.records
        at = (record or 0) if self.table else first + (record or 0)
        count = self.records if record is None and not self.table else 1
        self._grow(max(self.pages * self.records, at + count))
        for i in range(at, at + count):
            self.ticks[i] = max(self.ticks[i], _OK if ok else _ERROR)

    def _grow(self, length: int) -> None:
        if len(self.ticks) < length:
            self.ticks.extend(bytes(length - len(self.ticks)))

    @property
    def covered(self) -> bool:
        """Every record has its row."""
        return self.pages > 0 and len(self.ticks) >= self.pages * self.records and 0 not in self.ticks

    @property
    def complete(self) -> bool:
        """Nothing is missing, or one error speaks for all."""
        return self.whole or self.covered

    @property
    def status(self) -> str:
        """ok, partial or failed."""
        if _OK not in self.ticks:
            return "failed"
        return "partial" if _ERROR in self.ticks or not self.covered else "ok"


class Folding:
    """Folds the documents of one run. ``counts`` has how many ended ok, partial and failed."""

    def __init__(
        self, storage: Storage, stamp: RunStamp, ledger: Ledger, *, answers: Answers, pages: Storage | None = None
    ) -> None:
        """``pages``: where pages/ lies, if elsewhere; only a run that only reads folds from it."""
        self._storage, self._stamp, self._answers = storage, stamp, answers
        self._ledger = ledger
        self._fence = Fence(storage, stamp.fence)
        self._pages = pages if pages is not None else storage
        self._records = ledger.records_per_page
        self._begun = ledger.begun()
        self._open: dict[tuple[str, str], _Document] = {}
        self._later: dict[int, int] = {}
        """Documents begun earlier, and how many pages each has: error rows alone do not tell."""
        self._ready: list[_Document] = []
        self._flushed = time.monotonic()
        self._folded: list[Hashes] = []
        self.counts: Counter[str] = Counter(ok=0, partial=0, failed=0)

    @property
    def incomplete(self) -> int:
        """Documents with receipts that are not folded yet."""
        return len(self._open) + len(self._later)

    def folded(self) -> Hashes:
        """Documents that this run folded, sorted hashes."""
        return keys.sorted_unique(self._folded)

    def add(self, receipts: pa.Table) -> None:
        """Counts one table of receipts in; may commit a part of documents/."""
        hashes = keys.documents(receipts)[1]
        later = keys.member(hashes, self._begun)
        for document, pages in zip(hashes[later], keys.numbers(receipts["pages"], 0)[later], strict=True):
            self._later[int(document)] = max(self._later.get(int(document), 0), int(pages))
        names = ("uri", "source", "doc_id", "page", "record", "pages", "ok", "part")
        fresh = receipts.select(names).filter(pa.array(~later))
        for uri, source, doc_id, page, record, pages, ok, part in zip(
            *(fresh[name].to_pylist() for name in names), strict=True
        ):
            document = self._document(self._open, uri, source)
            document.doc_id = document.doc_id or doc_id
            document.saw(page, record, pages, ok=ok)
            if ok:
                document.parts.add(part)
            if document.complete:
                self._ready.append(self._open.pop((document.uri, document.source)))
        if len(self._ready) >= _FLUSH_ROWS or time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Commits the documents that are complete so far."""
        if self._ready and self._answers.columns:
            self._read_answers()
        if self._ready:
            self._commit(self._ready, counted=np.ones(len(self._ready), np.bool_))
        self._ready, self._flushed = [], time.monotonic()

    def finish(self, also: Hashes | None = None) -> None:
        """Folds what is left from the stored rows: documents begun earlier, and ``also`` (sorted hashes)."""
        self.flush()
        open_ = list(self._open.values())
        left = np.concatenate([np.fromiter(self._later, np.uint64, len(self._later)), _hashes(open_)])
        unfolded = self._ledger.unfolded()
        new = unfolded[~keys.member(unfolded, self.folded())]
        wanted = keys.sorted_unique([left, new, *([also] if also is not None else [])])
        listed = self._ledger.listed_documents()
        for chunk in np.array_split(wanted, max(1, -(-len(wanted) // _AT_ONCE))):
            documents = self._stored(chunk) if len(chunk) else []
            for start in range(0, len(documents), _FLUSH_ROWS):
                some = documents[start : start + _FLUSH_ROWS]
                hashes = _hashes(some)
                before = keys.sorted_unique([self._ledger.complete, self.folded()])
                self._commit(some, counted=keys.member(hashes, listed) & ~keys.member(hashes, before))
        done = {int(one) for one in keys.member_of(left, self.folded())}
        self._later = {key: pages for key, pages in self._later.items() if key not in done}
        closed = keys.member(_hashes(open_), self.folded())
        self._open = {(one.uri, one.source): one for one, gone in zip(open_, closed, strict=True) if not gone}

    def _document(self, among: dict[tuple[str, str], _Document], uri: str, source: str) -> _Document:
        key = document_of(uri, source)
        if key not in among:
            among[key] = _Document(uri=key[0], source=key[1], records=self._records)
        return among[key]

    def _read_answers(self) -> None:
        """The answers of the documents that are ready, from the parts that hold them."""
        ready = {(document.uri, document.source): document for document in self._ready if not document.table}
        names = sorted({part for document in ready.values() for part in document.parts if part})
        for _, table in scan(self._storage, "results", self._result_columns, only=names):
            for row in table.to_pylist():
                document = ready.get(document_of(row["uri"], row["source"]))
                if document is not None and row["fingerprint"] == self._stamp.fingerprint:
                    _keep_newest(document, row)

    @property
    def _result_columns(self) -> tuple[str, ...]:
        head = ("uri", "source", "doc_id", "page", "record", "pages", "fingerprint", "at")
        return (*head, *(name for name in self._answers.reads if name not in head))

    def _stored(self, wanted: Hashes) -> list[_Document]:
        """The wanted documents that are complete, from results/ (or pages/) and errors/."""
        found: dict[tuple[str, str], _Document] = {}
        stamp = self._stamp
        only_reads = stamp.fingerprint == stamp.read_fingerprint
        head = ("uri", "source", "doc_id", "page")
        if only_reads:
            signature = ("read_fingerprint", stamp.read_fingerprint)
            rows = _rows(self._pages, "pages", (*head, "pages"), signature, wanted)
        else:
            rows = _rows(self._storage, "results", self._result_columns, ("fingerprint", stamp.fingerprint), wanted)
        for row in rows:
            document = self._saw_row(found, row, ok=True)
            if self._answers.columns and not only_reads and not document.table:
                _keep_newest(document, row)
        signature = ("fingerprint", stamp.fingerprint)
        for row in _rows(self._storage, "errors", (*head, "record"), signature, wanted):
            self._saw_row(found, row, ok=False)
        hashes = _hashes(list(found.values()))
        lengths = self._ledger.known.lengths(hashes)
        for document, key, length in zip(found.values(), hashes, lengths, strict=True):
            document.pages = max(document.pages, self._later.get(int(key), 0), int(length))
        return [document for document in found.values() if document.complete]

    def _saw_row(self, found: dict[tuple[str, str], _Document], row: Mapping[str, object], *, ok: bool) -> _Document:
        document = self._document(found, str(row["uri"]), str(row["source"]))
        doc_id, page, record, pages = (row.get(name) for name in ("doc_id", "page", "record", "pages"))
        document.doc_id = document.doc_id or (str(doc_id) if doc_id else None)
        if ok and record is None:
            record = 0
        document.saw(_whole(page), _whole(record), _whole(pages), ok=ok)
        return document

    def _commit(self, documents: Sequence[_Document], *, counted: Mask) -> None:
        """One part of documents/, all rows of a document in it."""
        schema = documents_schema(self._answers.columns)
        sign = {"fingerprint": self._stamp.fingerprint, "run_id": self._stamp.run_id, "at": datetime.now(UTC)}
        rows = [{**row, **sign} for document in documents for row in self._document_rows(document)]
        table = pa.Table.from_pylist(rows, schema=schema)
        self._fence.check()
        commit(self._storage, "documents", table, schema, DOCUMENT_KEY, self._stamp)
        self.counts.update(one.status for one, new in zip(documents, counted, strict=True) if new)
        self._folded.append(_hashes(documents))

    def _document_rows(self, document: _Document) -> Iterator[Row]:
        """One row a record where answers combine, else one."""
        head: Row = {
            "uri": document.uri,
            "source": document.source,
            "doc_id": document.doc_id,
            "pages": document.pages or None,
            "record": None,
            "status": document.status,
        }
        combine = self._answers.combine
        if combine is None or not document.answers:
            yield head
            return
        for record in range(document.records):
            pages = [row for (_, of), (_, row) in sorted(document.answers.items(), key=_by_page) if of == record]
            best: Row = reduce(combine, pages) if pages else {}
            yield {**head, "record": record, **{name: best.get(name) for name in self._answers.columns}}


def _hashes(documents: Sequence[_Document]) -> Hashes:
    """The hash of each document."""
    columns = {"uri": [one.uri for one in documents], "source": [one.source for one in documents]}
    return keys.documents(pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()}))[1]


def _by_page(item: tuple[tuple[int, int], object]) -> tuple[int, int]:
    return item[0]


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int) else None


def _keep_newest(document: _Document, row: Row) -> None:
    page, record, at = row["page"], row["record"], row["at"]
    assert isinstance(page, int)
    assert isinstance(record, int)
    assert isinstance(at, datetime)
    known = document.answers.get((page, record))
    if known is None or known[0] <= at:
        document.answers[page, record] = (at, row)


def _rows(
    storage: Storage, folder: str, columns: Iterable[str], signature: tuple[str, str], wanted: Hashes
) -> Iterator[Row]:
    """Rows of the wanted documents under a fingerprint (column, value)."""
    names = tuple(dict.fromkeys((*columns, signature[0])))
    for block in scan_blocks(storage, folder, names):
        ours = signed(block.table, *signature)
        ours &= keys.member(keys.documents(block.table)[1], wanted)
        if ours.any():
            yield from block.table.filter(pa.array(ours)).to_pylist()
