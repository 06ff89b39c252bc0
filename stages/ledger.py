"""What is done, so that a run does only what is not: planned keys minus committed keys, as sorted 64-bit hashes.

A document is complete once documents/ has its row under the fingerprint; its error rows count as done unless their
code is to be retried. What is complete drops out of the plan; what is not is summed up by ``stages.progress``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import keys
from stages.columns import COLUMNS, schema
from stages.errors import Code
from stages.keys import Hashes, Ints, Mask
from stages.lease import taken_over
from stages.listing import LISTED
from stages.parts import read_part, scan_blocks, where
from stages.progress import Progress, Rows, open_rows, progress, signed
from stages.settled import Settled
from stages.storage import Entry, Storage

TODO = schema((*LISTED.names, "done"))
REUSABLE = pa.schema(
    [
        COLUMNS["part"].field,
        COLUMNS["rows"].field,
        *((name, pa.list_(COLUMNS[name].type)) for name in ("uri", "source", "doc_id", "page")),
    ],
)
"""One part of pages/: its name, the wanted rows, and the key of each."""


class Ledger:
    """What an output held when it was loaded, and what has been listed since."""

    def __init__(
        self,
        *,
        fingerprint: str,
        records_per_page: int,
        complete: Hashes,
        again: Hashes,
        known: Progress,
        pages: Storage,
        read_pages: _ReadPages,
        settled: Settled,
    ) -> None:
        """Use ``Ledger.load``."""
        self.fingerprint, self.records_per_page = fingerprint, records_per_page
        self.complete = complete
        """Documents with a row in documents/ and nothing to retry, sorted hashes."""
        self.again = again
        """Documents with an error row that is to be tried again, sorted hashes."""
        self.known = known
        self.settled = settled
        """Parts that were in order when this was loaded."""
        self.skipped = 0
        """Listed documents that are complete."""
        self.listed = 0
        """Documents listed so far."""
        self.new = 0
        """Listed documents of which nothing was done before, in this version of the file."""
        self.retried = 0
        """Listed documents of which something failed before and is tried again."""
        self.unfinished_pages = 0
        """Pages of listed documents that are not complete which an earlier run finished."""
        self._pages, self._read_pages = pages, read_pages
        self._listed: list[tuple[Hashes, Hashes]] = []

    @classmethod
    def load(
        cls,
        storage: Storage,
        *,
        fingerprint: str,
        read_fingerprint: str,
        records_per_page: int,
        retry: frozenset[Code] = frozenset(),
        max_attempts: int = 0,
        pages: Storage | None = None,
    ) -> Ledger:
        """Reads the key columns of an output. ``pages``: where pages/ lies, if elsewhere. For a run that only reads,
        ``fingerprint`` equals ``read_fingerprint``, and a page in pages/ is done. Error rows of a code in ``retry``
        are to be tried again, unless they were tried ``max_attempts`` times (0: however often)."""
        only_reads = fingerprint == read_fingerprint
        pages = pages if pages is not None else storage
        settled = Settled.load(storage, fingerprint=fingerprint, read_fingerprint=read_fingerprint, pages=pages)
        retries = _Retries(codes=retry, max_attempts=max_attempts)
        complete, again, doubtful = _complete(storage, fingerprint, retries, settled.parts)
        skip = {} if doubtful else settled.parts
        signature = ("fingerprint", fingerprint)
        columns: tuple[str, ...] = ("record", "pages")
        answered = [rows for _, _, rows in open_rows(storage, "results", columns, signature, complete, skip)]
        columns = ("record", *_Retries.reads)
        for block, ours, rows in open_rows(storage, "errors", columns, signature, complete, skip):
            answered.append(rows[~retries.named(where(block.table, ours))])
        read_pages = _ReadPages.load(pages, read_fingerprint, complete, skip)
        if only_reads:
            answered.append(read_pages.rows)
        return cls(
            fingerprint=fingerprint,
            records_per_page=records_per_page,
            complete=complete,
            again=again,
            known=progress(Rows.joined(answered), read_pages.rows, records_per_page),
            pages=pages,
            read_pages=read_pages,
            settled=settled,
        )

    def todo(self, listed: pa.Table) -> pa.Table:
        """The rows of ``listed`` (uri, source, size, kind) to open, with ``done``: pages that need no reading.

        Left out are complete documents (counted in ``skipped``), those that only lack their row in documents/
        (``unfolded``), and those of which all pages are read (``reusable``). ``done`` is empty for tables: see
        ``done_records``.
        """
        uris, documents = keys.documents(listed)
        self._listed.append((uris, documents))
        complete = keys.member(documents, self.complete)
        self.listed += len(documents)
        self.skipped += int(complete.sum())
        at = self.known.find(documents)
        again = ~complete & keys.member(documents, self.again)
        begun = (at >= 0) & self.known.begun[at] if len(self.known.document) else np.zeros(len(at), np.bool_)
        self.retried += int(again.sum())
        self.new += int((~complete & ~again & ~begun).sum())
        self.unfinished_pages += int(self.known.answered[at[(at >= 0) & ~complete]].sum())
        nothing_to_open = (at >= 0) & (self.known.covered | self.known.read)[at] if len(self.known.document) else False
        keep = ~(complete | nothing_to_open)
        open_, at = listed.filter(pa.array(keep)), at[keep]
        return open_.append_column(COLUMNS["done"].field, self._done_lists(at)).cast(TODO)

    def first_open(self, listed: pa.Table, most: int) -> pa.Table:
        """The rows of ``listed`` from the first, until ``most`` that are not complete are among them."""
        is_open = ~keys.member(keys.documents(listed)[1], self.complete)
        return listed.filter(pa.array(np.cumsum(is_open) - is_open < most))

    def _done_lists(self, at: Ints) -> pa.ListArray:
        pages = [self.known.pages_of(int(one)) if one >= 0 else np.zeros(0, np.int32) for one in at]
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in pages])]).astype(np.int32)
        flat = np.concatenate([np.zeros(0, np.int32), *pages])
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.int32()))

    def listed_documents(self) -> Hashes:
        """All documents listed so far, sorted."""
        return keys.sorted_unique([documents for _, documents in self._listed])

    def listing_digest(self) -> str:
        """Tells one set of listed documents from another, whatever their order."""
        total = np.zeros(1, np.uint64)
        for _, documents in self._listed:
            total += keys.mix(documents).sum(dtype=np.uint64)
        return f"{self.listed}-{int(total[0]):016x}"

    def listed_versions(self) -> tuple[Hashes, Hashes]:
        """(uris listed so far, sorted; the listed document of each)."""
        if not self._listed:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        uris, documents = (np.concatenate(column) for column in zip(*self._listed, strict=True))
        order = np.argsort(uris, kind="stable")
        return uris[order], documents[order]

    def unfolded(self) -> Hashes:
        """Listed documents that are done but have no row in documents/, sorted."""
        found = self.known.document[self.known.covered]
        if not len(found):
            return found
        return found[keys.member(found, self.listed_documents())]

    def begun(self) -> Hashes:
        """Documents with rows in results/ or errors/ but none in documents/, listed or not, sorted."""
        return self.known.document[self.known.begun]

    def done_records(self, uri: str, source: str) -> Ints:
        """The ordinals of a listed table's rows that are done, sorted."""
        table = pa.table({"uri": [uri], "source": [source]})
        return self.known.records_of(keys.documents(table)[1])

    def reusable(self) -> Iterator[pa.Table]:
        """Pages that are read but not answered, of the documents listed so far: ``REUSABLE`` tables, a row a part."""
        rows = self._read_pages.rows
        if not len(rows.page):
            return
        at = self.known.find(rows.document)
        covered = (at >= 0) & self.known.covered[at] if len(self.known.document) else np.zeros(len(at), np.bool_)
        wanted = ~covered & ~self.known.is_done(rows) & keys.member(rows.document, self.listed_documents())
        yield from self._read_pages.tables(self._pages, wanted)


@dataclass(frozen=True, kw_only=True)
class _Retries:
    """Which error rows are tried again."""

    reads: ClassVar[tuple[str, ...]] = ("code", "attempts")
    codes: frozenset[Code]
    max_attempts: int

    def named(self, errors: pa.Table) -> Mask:
        """Which rows they are."""
        again = pc.is_in(errors["code"], pa.array(sorted(self.codes), pa.string()))
        if self.max_attempts:
            again = pc.and_(again, pc.less(pc.fill_null(errors["attempts"], 1), self.max_attempts))
        return np.asarray(again)


def _complete(
    storage: Storage, fingerprint: str, retries: _Retries, settled: Mapping[str, str]
) -> tuple[Hashes, Hashes, bool]:
    """Documents with a row in documents/, but for those that must be looked at; documents with an error row to be
    retried; and whether there are documents that must be looked at.

    These have an error row to be retried, or a row by a run that lost its lease: it may have been written when what it
    speaks of was gone already, so results/ and errors/ decide.
    """
    found, late_rows, again = [], [], []
    late = taken_over(storage)
    columns = ("uri", "source", "fingerprint", *(("run_id",) if late else ()))
    for block in scan_blocks(storage, "documents", columns):
        ours = where(block.table, signed(block.table, "fingerprint", fingerprint))
        found.append(keys.documents(ours)[1])
        if late:
            known = np.asarray([settled.get(entry.name) == entry.version for entry in block.entries])[block.part]
            doubtful = np.asarray(pc.is_in(block.table["run_id"], pa.array(late))) & ~known
            late_rows.append(keys.documents(where(block.table, doubtful))[1])
    for block in (
        scan_blocks(storage, "errors", ("uri", "source", "fingerprint", *_Retries.reads)) if retries.codes else ()
    ):
        ours = where(block.table, retries.named(block.table) & signed(block.table, "fingerprint", fingerprint))
        again.append(keys.documents(ours)[1])
    complete, tried = keys.sorted_unique(found), keys.sorted_unique(again)
    doubtful = keys.member(complete, keys.sorted_unique([*late_rows, tried]))
    return (complete[~doubtful], tried, True) if doubtful.any() else (complete, tried, False)


class _ReadPages:
    """Where each page of an unfinished document lies in pages/; once a page, the newest."""

    def __init__(self, rows: Rows, part: Ints, row: Ints, entries: Sequence[Entry]) -> None:
        self.rows, self._part, self._row, self._entries = rows, part, row, entries

    @classmethod
    def load(cls, storage: Storage, read_fingerprint: str, complete: Hashes, skip: Mapping[str, str]) -> _ReadPages:
        entries: list[Entry] = []
        found: list[Rows] = []
        places: list[tuple[Ints, Ints, Ints]] = []
        signature = ("read_fingerprint", read_fingerprint)
        for block, ours, rows in open_rows(storage, "pages", ("pages", "at"), signature, complete, skip):
            at = block.table["at"].cast(pa.int64()).to_numpy()[ours]
            places.append((block.part[ours] + len(entries), block.row[ours], at))
            found.append(rows)
            entries += block.entries
        rows = Rows.joined(found)
        part, row, at = (
            (np.concatenate([np.zeros(0, np.int64), *column]) for column in zip(*places, strict=True))
            if (places)
            else (np.zeros(0, np.int64),) * 3
        )
        newest = _newest(rows, at)
        return cls(rows[newest], part[newest], row[newest], entries)

    def tables(self, storage: Storage, wanted: Mask) -> Iterator[pa.Table]:
        """The wanted pages, part by part."""
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.lexsort((self._row[chosen], self._part[chosen]))]
        cuts = np.flatnonzero(np.diff(self._part[chosen])) + 1
        for group in np.split(chosen, cuts) if len(chosen) else ():
            entry, rows = self._entries[self._part[group[0]]], self._row[group]
            table = read_part(storage, entry, ("uri", "source", "doc_id", "page"))
            if table is None:
                continue  # gone meanwhile: its pages are planned again by the next run
            table = table.take(pa.array(rows))
            lists = {name: [table[name].to_pylist()] for name in table.column_names}
            yield pa.table({"part": [entry.name], "rows": [rows.tolist()], **lists}, schema=REUSABLE)


def _newest(rows: Rows, at: Ints) -> Ints:
    """The index of the newest row of each page."""
    if not len(at):
        return np.zeros(0, np.int64)
    order = np.lexsort((at, rows.page, rows.document))
    last = np.ones(len(order), np.bool_)
    last[:-1] = (rows.document[order][1:] != rows.document[order][:-1]) | (
        rows.page[order][1:] != rows.page[order][:-1]
    )
    return np.asarray(order[last])
