"""Takes superseded rows out of the parts that hold them, and joins very small parts.

A row is only taken out for the sake of one that stays, and a part is only rewritten if nobody wrote it meanwhile. So
whatever crashes, or writes late, no key loses its last row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from stages import keys
from stages.columns import COLUMNS
from stages.keys import Hashes, Ints, Mask, part_name
from stages.parts import parquet_bytes, read_part, rows_of, scan_blocks
from stages.storage import Entry, Storage
from stages.supersede import Current, Folder

SMALL = 1 * 2**20
"""Parts below this many bytes are joined."""
JOINED = 8 * 2**20
"""Most bytes of the parts that are joined to one; unpacked, eight times as many."""
JOINED_ROWS = 50_000
"""Most rows of a joined part."""
FEWEST = 8
"""So few small parts are left alone."""


@dataclass(kw_only=True)
class Removed:
    """What ``clean`` took out."""

    rows: int = 0
    unlisted: int = 0
    """Files that are no longer listed and whose rows went."""
    left: dict[str, str] = field(default_factory=dict)
    """The parts that are in order now, name to version; without those that somebody wrote meanwhile."""


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """The rows of a folder: one value a row in each array, part after part."""

    entries: list[Entry]
    first: Ints
    """Index of each part's first row, and the number of rows at the end."""
    key: Hashes
    at: Ints
    """Microseconds since 1970."""
    drop: Mask
    attempts: Ints
    """Of error rows; else empty."""
    unlisted: Hashes
    """Uris that are dropped because they are not listed."""

    def part_of(self, rows: Ints) -> Ints:
        """The index of the part of each row."""
        return np.asarray(np.searchsorted(self.first[1:], rows, side="right"))


@dataclass(kw_only=True)
class _Columns:
    """The arrays of a survey while blocks come in."""

    key: list[Hashes] = field(default_factory=lambda: [np.zeros(0, np.uint64)])
    at: list[Ints] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    drop: list[Mask] = field(default_factory=lambda: [np.zeros(0, np.bool_)])
    attempts: list[Ints] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    unlisted: list[Hashes] = field(default_factory=lambda: [np.zeros(0, np.uint64)])
    lengths: list[Ints] = field(default_factory=lambda: [np.zeros(1, np.int64)])
    entries: list[Entry] = field(default_factory=list)


def clean(
    folder: Folder,
    current: Current | None,
    *,
    moot: Hashes | None = None,
    check: Callable[[], None] = lambda: None,
) -> Removed:
    """Takes the superseded rows out of a folder.

    ``current`` None leaves old versions and other fingerprints (of pages/ that several outputs share). ``moot``: keys
    to drop, sorted. ``check`` is called before each write, and raises where the lease is lost.
    """
    found = _survey(folder, current)
    if moot is not None:
        found.drop[keys.member(found.key, moot)] = True
    older, attempts = _older(found, together=not folder.by)
    found.drop[older] = True
    if not len(found.attempts):
        attempts = {}
    changed = np.concatenate([np.flatnonzero(found.drop), np.fromiter(attempts, np.int64)])
    left = {entry.name: entry.version for entry in found.entries}
    removed = Removed(unlisted=len(np.unique(found.unlisted)), left=left)
    for part in np.unique(found.part_of(changed)):
        check()
        start, end = int(found.first[part]), int(found.first[part + 1])
        totals = {row - start: total for row, total in attempts.items() if start <= row < end}
        entry, drop = found.entries[part], found.drop[start:end]
        version = _rewrite(folder.storage, entry, drop, totals)
        removed.rows += 0 if version is None else int(drop.sum())
        del left[entry.name]
        if version:
            left[entry.name] = version
    return removed


def _survey(folder: Folder, current: Current | None) -> _Survey:
    tried = ("attempts",) if folder.name == "errors" else ()
    found = _Columns()
    names = ("uri", "source", *folder.by, folder.signature[0], "at", *tried)
    for block in scan_blocks(folder.storage, folder.name, names):
        uris, documents = keys.documents(block.table)
        ours = keys.string_hashes(block.table[folder.signature[0]]) == folder.sign
        old = unlisted = np.zeros(len(uris), np.bool_)
        if current is not None:
            old, unlisted = current.superseded(uris, documents, ours)
        found.key.append(folder.keys(block.table, documents))
        found.at.append(np.asarray(block.table["at"].cast(pa.int64())).astype(np.int64))
        found.drop.append(old)
        found.attempts += [keys.numbers(block.table[name], 1) for name in tried]
        found.unlisted.append(np.unique(uris[unlisted]))
        found.lengths.append(np.bincount(block.part, minlength=len(block.entries)))
        found.entries += block.entries
    return _Survey(
        entries=found.entries,
        first=np.cumsum(np.concatenate(found.lengths)),
        key=np.concatenate(found.key),
        at=np.concatenate(found.at),
        drop=np.concatenate(found.drop),
        attempts=np.concatenate(found.attempts),
        unlisted=np.concatenate(found.unlisted),
    )


def _older(found: _Survey, *, together: bool) -> tuple[Ints, dict[int, int]]:
    """(rows for whose key there is a newer one, the attempts of each newest row with those before it added).

    ``together``: rows of one key that were written together stay together (a document's, one a record).
    """
    order = found.key[~found.drop]
    order.sort()
    repeated = np.unique(order[1:][order[1:] == order[:-1]])
    rows = np.flatnonzero(~found.drop & keys.member(found.key, repeated))
    if not len(rows):
        return rows, {}
    part = found.part_of(rows)
    rows = rows[np.lexsort((rows, part, found.at[rows], found.key[rows]))]
    key = found.key[rows]
    older: list[Ints] = []
    attempts: dict[int, int] = {}
    for group in np.split(rows, np.flatnonzero(key[1:] != key[:-1]) + 1):
        newest = group[-1:]
        same = group == newest
        if together:
            same = (found.at[group] == found.at[newest]) & (found.part_of(group) == found.part_of(newest))
        older.append(group[~same])
        if len(found.attempts):
            attempts[int(newest[0])] = int(found.attempts[group].sum())
    return np.concatenate(older), attempts


def _rewrite(storage: Storage, entry: Entry, drop: Mask, attempts: dict[int, int]) -> str | None:
    """Writes the part without the rows to drop; removes it where none is left. Returns its version (empty where it is
    removed), None where somebody wrote it meanwhile: then nothing is changed."""
    if drop.all():
        return storage.replace(entry.name, None, entry.version)
    table = read_part(storage, entry, None)
    if table is None or table.num_rows != len(drop):
        return None
    if attempts:
        at = table.schema.get_field_index("attempts")
        values = [attempts.get(i, old) for i, old in enumerate(table["attempts"].to_pylist())]
        table = table.set_column(at, table.schema.field(at), pa.array(values, COLUMNS["attempts"].type))
    return storage.replace(entry.name, parquet_bytes(table.filter(pa.array(~drop))), entry.version)


def compact(
    folder: Folder, key: tuple[str, ...], left: dict[str, str], *, check: Callable[[], None] = lambda: None
) -> int:
    """Joins small parts among those in order (``left``, name to version, kept up to date); the joined part is there
    before they go. Returns how many parts there are fewer."""
    storage = folder.storage
    entries = storage.list(f"{folder.name}/")
    small = [entry for entry in entries if entry.size < SMALL and left.get(entry.name) == entry.version]
    fewer = 0
    for group in _groups(storage, small) if len(small) >= FEWEST else ():
        about = group[0][1].schema.metadata or {}
        table = pa.concat_tables([table.replace_schema_metadata(None) for _, table in group])
        table = table.replace_schema_metadata({name: value for name, value in about.items() if name != b"manta.run_id"})
        name = part_name(folder.name, rows_of(table, key))
        check()
        left[name] = storage.put(name, parquet_bytes(table))
        for entry, _ in group:
            if entry.name != name and storage.replace(entry.name, None, entry.version) is not None:
                fewer += 1
                del left[entry.name]
        fewer -= 1
    return fewer


def _groups(storage: Storage, entries: list[Entry]) -> Iterator[list[tuple[Entry, pa.Table]]]:
    """The parts in order, cut to groups of about ``JOINED`` bytes; of one shape, and none of a single part."""
    group: list[tuple[Entry, pa.Table]] = []
    for entry in entries:
        table = read_part(storage, entry, None)
        if table is None:
            continue  # somebody is at work
        if group and not (_fits(group, entry, table)):
            if len(group) > 1:
                yield group
            group = []
        group.append((entry, table))
    if len(group) > 1:
        yield group


def _fits(group: list[tuple[Entry, pa.Table]], entry: Entry, table: pa.Table) -> bool:
    """Whether a part may join a group: the same columns, and neither too long nor too large, packed or unpacked."""
    rows = sum(one.num_rows for _, one in group) + table.num_rows
    packed = sum(one.size for one, _ in group) + entry.size
    unpacked = sum(one.nbytes for _, one in group) + table.nbytes
    same: bool = group[0][1].schema.remove_metadata().equals(table.schema.remove_metadata())
    return same and rows <= JOINED_ROWS and packed <= JOINED and unpacked <= 8 * JOINED
