"""What identifies a row, and the 64-bit hashes that stand for it where millions must fit into memory.

A document is (uri, source). A row of a table that names itself keeps its own uri, and its ``source`` then also tells
which table it came from: ``source@table-uri`` (``row_source``); so every row leads back to a listed file.
One result key is (document, page, record, fingerprint). Two keys among five million share a 64-bit hash with a chance
below one in a million.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

TABLE = re.compile(r"\.(parquet|jsonl)$", re.IGNORECASE)
"""Uris of files whose rows a task reads directly."""
NO_PAGE = 0
"""Stands for a null page (a failure of the whole document)."""
NO_RECORD = -1
"""Stands for a null record (a failure of the whole page)."""


def row_source(source: str, table_uri: str) -> str:
    """The ``source`` of a table's row that has a uri of its own."""
    return f"{source}@{table_uri}"


def document_of(uri: str, source: str) -> tuple[str, str]:
    """(uri, source) of the listed file that a row belongs to."""
    own, at, table_uri = source.partition("@")
    return (table_uri, own) if at else (uri, source)


def string_hashes(column: pa.Array | pa.ChunkedArray) -> Hashes:
    """One hash a string (SipHash); null counts as the empty string."""
    from pandas.util import hash_array

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(column, pa.DictionaryArray):
        indices: Ints = np.asarray(column.indices)
        return string_hashes(column.dictionary)[indices]
    column = pc.fill_null(column, "") if column.null_count else column
    objects = column.to_numpy(zero_copy_only=False)
    return np.asarray(hash_array(objects, categorize=False), np.uint64)


def mix(*parts: NDArray[np.generic] | int) -> Hashes:
    """Hashes of several values that belong together, row by row: splitmix64 over each in turn."""
    total = np.zeros(1, np.uint64)
    for part in parts:
        total = total + np.atleast_1d(np.asarray(part)).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        total = (total ^ (total >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        total = (total ^ (total >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        total ^= total >> np.uint64(31)
    return total


def documents(table: pa.Table) -> tuple[Hashes, Hashes]:
    """(hash of the listed file's uri, hash of the document) of every row of a table with uri and source."""
    uri, source = table["uri"], table["source"]
    if not table.num_rows:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    if pc.any(pc.match_substring(source, "@")).as_py():
        pairs = [document_of(u, s) for u, s in zip(uri.to_pylist(), source.to_pylist(), strict=True)]
        uri, source = (pa.array(column, pa.string()) for column in zip(*pairs, strict=True))
    uris = string_hashes(uri)
    return uris, mix(uris, string_hashes(source))


def is_table(table: pa.Table) -> Mask:
    """Which rows belong to a table: their uri is a table's, or their source names one."""
    if not table.num_rows:
        return np.zeros(0, np.bool_)
    ours = pc.or_(
        pc.match_substring_regex(table["uri"], TABLE.pattern, ignore_case=True),
        pc.match_substring(table["source"], "@"),
    )
    return np.asarray(ours)


def numbers(column: pa.Array | pa.ChunkedArray, null: int) -> Ints:
    """An integer column as int64, nulls replaced."""
    return np.asarray(pc.fill_null(column, null)).astype(np.int64)


def member(values: Hashes, among: Hashes) -> Mask:
    """Which ``values`` are in the sorted array ``among``."""
    at = position(values, among)
    return at >= 0


def position(values: Hashes, among: Hashes) -> Ints:
    """Where each of ``values`` is in the sorted array ``among``, -1 where it is not."""
    if not len(among) or not len(values):
        return np.full(len(values), -1, np.int64)
    order = np.argsort(values)  # neighbours are looked up together: four times as fast among millions
    sorted_ = values[order]
    found = np.searchsorted(among, sorted_)
    found[found == len(among)] = 0
    at = np.empty(len(values), np.int64)
    at[order] = np.where(among[found] == sorted_, found, -1)
    return at


def member_of(values: Hashes, among: Hashes) -> Hashes:
    """Those ``values`` that are in the sorted array ``among``."""
    return values[member(values, among)]


def sorted_unique(parts: Sequence[Hashes]) -> Hashes:
    """One sorted array without repeats."""
    joined = np.concatenate([np.zeros(0, np.uint64), *parts])
    joined.sort()
    repeats = joined[1:] == joined[:-1]
    return joined[np.append(True, ~repeats)] if repeats.any() else joined


def part_name(folder: str, keys: Iterable[Sequence[object]]) -> str:
    """The name of the part that holds rows with these keys: their sorted hash, so that doing it again overwrites."""
    lines = sorted("\x1f".join("" if value is None else str(value) for value in key) for key in keys)
    return f"{folder}/{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:32]}.parquet"
