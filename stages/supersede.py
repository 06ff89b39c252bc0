"""Which rows a plain reader should no longer see.

Superseded are, of documents that are listed and complete: rows of an older version of the file or of another
fingerprint; of several rows with one key all but the newest; error rows whose key has a result by now.
``stages.clean`` takes them out of the parts that hold them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages import keys
from stages.keys import NO_PAGE, NO_RECORD, Hashes, Ints, Mask
from stages.parts import Block, scan_blocks, where
from stages.progress import Rows, key_rows, progress, signed
from stages.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Current:
    """Which rows are current: those of listed documents in their listed version, under the run's fingerprint."""

    uri: Hashes
    """Listed uris, sorted."""
    document: Hashes
    """The listed document of each."""
    complete: Hashes
    """Documents that are complete now, sorted."""
    prune: bool
    """Whether documents that are not listed go too."""

    def superseded(self, uris: Hashes, documents: Hashes, ours: Mask) -> tuple[Mask, Mask]:
        """(which rows are not current, which of them because they are not listed). Rows of documents that are not
        complete stay. ``ours``: which rows carry the run's fingerprint."""
        if not len(self.uri):
            unlisted = np.full(len(uris), self.prune)
            return unlisted, unlisted
        at = keys.position(uris, self.uri)
        listed = at >= 0
        old = listed & keys.member(self.document[at], self.complete) & ~((self.document[at] == documents) & ours)
        unlisted = np.asarray(~listed & self.prune)
        return old | unlisted, unlisted


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of parts, and what signs and tells apart its rows."""

    storage: Storage
    name: str
    signature: tuple[str, str]
    """The column of the fingerprint, and the run's."""
    by: tuple[str, ...]
    """The columns (of page and record) that make a row's key, beside its document and fingerprint."""

    @property
    def sign(self) -> Hashes:
        """The hash of the run's fingerprint."""
        return keys.string_hashes(pa.array([self.signature[1]]))

    def keys(self, table: pa.Table, documents: Hashes) -> Hashes:
        """The hash of each row's key; a column that does not tell rows apart counts as 0."""
        zeros = np.zeros(table.num_rows, np.int64)
        page, record = (
            keys.numbers(table[name], null) if name in self.by else zeros
            for name, null in (("page", NO_PAGE), ("record", NO_RECORD))
        )
        return row_keys(documents, page, record, keys.string_hashes(table[self.signature[0]]))

    def blocks(self, columns: tuple[str, ...] = ()) -> Iterator[Block]:
        """All its rows, with what tells documents and fingerprints apart and ``columns``."""
        return scan_blocks(self.storage, self.name, ("uri", "source", *columns, self.signature[0]))

    def rows(self, columns: tuple[str, ...], among: Hashes | None = None) -> Rows:
        """The keys of the rows that carry the run's fingerprint, of all documents or those in ``among``."""
        found = []
        for block in self.blocks(columns):
            table = where(block.table, signed(block.table, *self.signature))
            documents = keys.documents(table)[1]
            wanted = np.ones(len(documents), np.bool_) if among is None else keys.member(documents, among)
            found.append(key_rows(where(table, wanted), documents[wanted]))
        return Rows.joined(found)


def row_keys(documents: Hashes, page: Ints | NDArray[np.int32], record: Ints, signs: Hashes) -> Hashes:
    """The hash of each row's key."""
    return keys.mix(documents, page.astype(np.int64) + 1, record.astype(np.int64) + 1, signs)


def moot_errors(errors: Folder, answered: Folder, records_per_page: int) -> tuple[Hashes, Hashes]:
    """(keys of the error rows that results have overtaken, the documents they belong to), sorted.

    ``answered``: results/, or pages/ for a run that only reads. The error of one record is overtaken by its result;
    that of a page by results or errors of all its records; that of a document by those of all its pages.
    """
    failed = errors.rows(("page", "record"))
    nothing = np.zeros(0, np.uint64)
    if not len(failed.page):
        return nothing, nothing
    columns = ("page", "pages", *(name for name in answered.by if name == "record"))
    results = answered.rows(columns, np.unique(failed.document))
    result_keys = np.unique(row_keys(results.document, results.page, results.record, answered.sign))
    error_keys = row_keys(failed.document, failed.page, failed.record, errors.sign)
    of_document, single = failed.page == NO_PAGE, failed.record != NO_RECORD
    moot = single & keys.member(error_keys, result_keys)

    told = np.unique(np.concatenate([result_keys, error_keys[single]]))
    page = np.flatnonzero(~single & ~of_document)
    whole = np.ones(len(page), np.bool_)
    for record in range(records_per_page):
        each = row_keys(failed.document[page], failed.page[page], np.full(len(page), record), errors.sign)
        whole &= keys.member(each, told)
    moot[page[whole]] = True

    known = progress(Rows.joined([results, failed[~of_document]]), Rows.joined([]), records_per_page)
    at = known.find(failed.document)
    if len(known.covered):
        moot |= of_document & (at >= 0) & known.covered[at]
    return np.unique(error_keys[moot]), np.unique(failed.document[moot])
