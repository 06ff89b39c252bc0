"""How far the unfinished documents are, from the key columns of results/, errors/ and pages/, as sorted arrays.

A page is done once all its records (0 to n-1) are in results/ or errors/, or one error row speaks for the whole page
(null record). A document is covered once all its pages are done (all its rows, for a table), or one error row speaks
for the whole document (null page).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages import keys
from stages.keys import NO_PAGE, NO_RECORD, Hashes, Ints, Mask
from stages.parts import Block, scan_blocks, where
from stages.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Keys of rows, one value a row in each array."""

    document: Hashes
    page: NDArray[np.int32]
    record: Ints
    pages: NDArray[np.int32]
    """Pages of the document (rows of the table); 0 where the row does not tell."""
    table: Mask
    """Whether the row belongs to a table."""

    def __getitem__(self, which: Mask | Ints) -> Rows:
        return Rows(
            document=self.document[which],
            page=self.page[which],
            record=self.record[which],
            pages=self.pages[which],
            table=self.table[which],
        )

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        """All rows in one."""
        return cls(
            document=np.concatenate([np.zeros(0, np.uint64), *(one.document for one in parts)]),
            page=np.concatenate([np.zeros(0, np.int32), *(one.page for one in parts)]),
            record=np.concatenate([np.zeros(0, np.int64), *(one.record for one in parts)]),
            pages=np.concatenate([np.zeros(0, np.int32), *(one.pages for one in parts)]),
            table=np.concatenate([np.zeros(0, np.bool_), *(one.table for one in parts)]),
        )


def key_rows(table: pa.Table, documents: Hashes) -> Rows:
    """The keys of a table's rows with uri, source, page and, where it has them, record and pages."""
    count, there = table.num_rows, set(table.column_names)
    zeros = np.zeros(count, np.int64)
    return Rows(
        document=documents,
        page=keys.numbers(table["page"], NO_PAGE).astype(np.int32),
        record=keys.numbers(table["record"], NO_RECORD) if "record" in there else zeros,
        pages=(keys.numbers(table["pages"], 0) if "pages" in there else zeros).astype(np.int32),
        table=keys.is_table(table),
    )


def signed(table: pa.Table, column: str, fingerprint: str) -> Mask:
    """Which rows carry that fingerprint."""
    return np.asarray(pc.fill_null(pc.equal(table[column], fingerprint), fill_value=False))


def open_rows(
    storage: Storage,
    folder: str,
    columns: tuple[str, ...],
    fingerprint: tuple[str, str],
    complete: Hashes,
    skip: Mapping[str, str] | None = None,
) -> Iterator[tuple[Block, Mask, Rows]]:
    """Of every block of a folder: which rows have the fingerprint (column, value) and belong to a document that is
    not complete, and their keys."""
    for block in scan_blocks(storage, folder, ("uri", "source", "page", *columns, fingerprint[0]), skip=skip):
        ours = signed(block.table, *fingerprint)
        documents = keys.documents(where(block.table, ours))[1]
        fresh = ~keys.member(documents, complete)
        ours[np.flatnonzero(ours)[~fresh]] = False
        yield block, ours, key_rows(where(block.table, ours), documents[fresh])


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is known of every document that has rows but is not complete, sorted by its hash."""

    document: Hashes
    covered: Mask
    read: Mask
    """All its pages are read or done: there is nothing to open it for."""
    begun: Mask
    """It has rows in results/ or errors/."""
    length: Ints
    """Its pages (rows, for a table) where a row tells, else 0: error rows do not."""
    answered: Ints
    """How many of its pages (rows, for a table) are done."""
    first: Ints
    """Where its pages begin in ``page``; one more value at the end."""
    page: NDArray[np.int32]
    """Pages that need no reading, in order."""
    done: Hashes
    """Hashes of (document, page) of the pages that are done, sorted."""
    table_document: Hashes
    """Documents of the table rows that are done, sorted."""
    table_record: Ints
    """The ordinal of each."""

    def find(self, documents: Hashes) -> Ints:
        """The index of each document, -1 where nothing is known of it."""
        return keys.position(documents, self.document)

    def pages_of(self, at: int) -> NDArray[np.int32]:
        """Pages that need no reading of the document with that index."""
        return self.page[self.first[at] : self.first[at + 1]]

    def is_done(self, rows: Rows) -> Mask:
        """Which pages are done."""
        return keys.member(keys.mix(rows.document, rows.page), self.done)

    def records_of(self, document: Hashes) -> Ints:
        """The ordinals of a table's rows that are done, sorted; without the last where nothing tells their number, so
        that one is done again and somebody counts them."""
        start, end = (np.searchsorted(self.table_document, document[0], side) for side in ("left", "right"))
        found = self.table_record[start:end]
        return found if self.lengths(document)[0] else found[:-1]

    def lengths(self, documents: Hashes) -> Ints:
        """How many pages each document has, 0 where nothing tells."""
        at = self.find(documents)
        return np.where(at >= 0, self.length[at], 0) if len(self.length) else np.zeros(len(at), np.int64)


def progress(answered: Rows, read: Rows, records_per_page: int) -> Progress:
    """Sums up rows of results/ and errors/ (``answered``) and of pages/ (``read``)."""
    answered = answered[_unique(answered.document, answered.page, answered.record)]
    documents = keys.sorted_unique([answered.document, read.document])
    at, at_read = np.searchsorted(documents, answered.document), np.searchsorted(documents, read.document)
    count = len(documents)

    length, table, whole = np.zeros(count, np.int64), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    np.maximum.at(length, at, answered.pages)
    np.maximum.at(length, at_read, read.pages)
    table[at] |= answered.table
    whole[at[answered.page == NO_PAGE]] = True

    pages = _done_pages(answered[answered.page != NO_PAGE], records_per_page)
    done_at = np.searchsorted(documents, pages.document)
    done = np.bincount(done_at, minlength=count)
    rows = answered[answered.table & (answered.page != NO_PAGE)]
    done = np.where(table, np.bincount(np.searchsorted(documents, rows.document), minlength=count), done)
    covered = whole | ((length > 0) & (done >= length))

    ready = Rows.joined([pages, read])
    ready = ready[_unique(ready.document, ready.page)]
    ready = ready[_but_last_where_unknown(np.searchsorted(documents, ready.document), length)]
    ready_at = np.searchsorted(documents, ready.document)
    ready_count = np.bincount(ready_at, minlength=count)
    by_record = np.lexsort((rows.record, rows.document))
    begun = np.zeros(count, np.bool_)
    begun[at] = True
    return Progress(
        document=documents,
        covered=covered,
        read=(length > 0) & (ready_count >= length) & ~table,
        begun=begun,
        length=length,
        answered=done,
        first=np.concatenate([[0], np.cumsum(ready_count)]).astype(np.int64),
        page=ready.page,
        done=np.unique(keys.mix(pages.document, pages.page)) if len(pages.page) else np.zeros(0, np.uint64),
        table_document=rows.document[by_record],
        table_record=rows.record[by_record],
    )


def _unique(*columns: NDArray[np.generic]) -> Ints:
    """The indices of the first row of each key, in the order of the keys (the first column weighs most)."""
    if not len(columns[0]):
        return np.zeros(0, np.int64)
    order = np.lexsort(columns[::-1])
    new = np.ones(len(order), np.bool_)
    new[1:] = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in columns])
    return np.asarray(order[new])


def _done_pages(rows: Rows, records_per_page: int) -> Rows:
    """One row a page that is done. ``rows`` are unique, sorted, and speak of pages; tables have none."""
    rows = rows[~rows.table]
    if not len(rows.page):
        return rows
    new = np.ones(len(rows.page), np.bool_)
    new[1:] = (rows.document[1:] != rows.document[:-1]) | (rows.page[1:] != rows.page[:-1])
    start = np.flatnonzero(new)
    whole = rows.record[start] == NO_RECORD  # sorts first
    count = np.diff(np.append(start, len(rows.page)))
    return rows[start[whole | (count >= records_per_page)]]


def _but_last_where_unknown(at: Ints, length: Ints) -> Mask:
    """All rows but the last one of each document whose number of pages no row tells (they are all errors).

    That page is done again, so that somebody counts the pages; otherwise nothing would ever come back.
    """
    if not len(at):
        return np.zeros(0, np.bool_)
    last = np.append(at[1:] != at[:-1], True)
    keep: Mask = ~(last & (length[at] == 0))
    return keep
