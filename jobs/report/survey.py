"""One pass over an output's key columns: what there is to count, and which pages are worth showing."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.output import Output

_EACH = 6
"""Pages kept for each label, code and reader."""
_LOWEST = 60
"""Pages kept for their low score."""
_SPREAD = 512
"""Most pages kept for being evenly spread."""
_BINS = 20


class Key(NamedTuple):
    """One page of one document; page 0 stands for a document that failed as a whole."""

    uri: str
    page: int


@dataclass(kw_only=True)
class Survey:
    """What one pass found."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows a table."""
    labels: Counter[str] = field(default_factory=Counter)
    """Answers by label: of entities where there are some, else of rows."""
    codes: Counter[str] = field(default_factory=Counter)
    """Error rows by code."""
    readers: Counter[str] = field(default_factory=Counter)
    """Pages by what read them."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Documents by status."""
    scores: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    """Rows by their lowest score, in 20 equal bins from 0 to 1."""
    score_range: tuple[float, float] | None = None
    """Lowest and highest score; None where rows have none."""
    drawable: bool = False
    """Whether there are words with boxes, so that pages can be shown."""
    _by_kind: dict[tuple[str, str], list[Key]] = field(default_factory=dict)
    _low: list[tuple[float, int, Key]] = field(default_factory=list)
    _even: list[Key] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def pick(self, limit: int) -> list[Key]:
        """At most ``limit`` pages that show every error code, label and reader, low scores, and the rest evenly."""
        kinds = [
            [keys for (kind, _), keys in self._by_kind.items() if kind == name] for name in ("code", "label", "reader")
        ]
        firsts = [keys[0] for groups in kinds for keys in groups]
        low = [key for _, _, key in sorted(self._low, reverse=True)]
        chosen = list(_first(chain(firsts, low[: limit // 4]), limit))
        left = limit - len(chosen)
        spread = [self._even[i * len(self._even) // left] for i in range(left)] if self._even else []
        more = _turns(keys for groups in kinds for keys in groups)
        return sorted(_first(chain(chosen, spread, self._even, more), limit))

    def note(self, kind: str, name: str, key: Key) -> None:
        """Keeps a page as an example of a label, code or reader."""
        kept = self._by_kind.setdefault((kind, name), [])
        if len(kept) < _EACH and key not in kept:
            kept.append(key)

    def note_even(self, keys: Sequence[Key]) -> None:
        """Keeps every n-th page, n doubling as there come more."""
        for key in keys[-self._seen % self._stride :: self._stride]:
            self._even.append(key)
        self._seen += len(keys)
        while len(self._even) > _SPREAD:
            self._even, self._stride = self._even[::2], self._stride * 2

    def note_scores(self, scores: NDArray[np.float64], keys: Sequence[Key]) -> None:
        """Counts scores (nan where a row has none) and keeps the pages of the lowest."""
        known = np.flatnonzero(~np.isnan(scores))
        if not len(known):
            return
        values = scores[known]
        low, high = self.score_range or (np.inf, -np.inf)
        self.score_range = (float(min(low, values.min())), float(max(high, values.max())))
        counts, _ = np.histogram(np.clip(values, 0, 1), bins=_BINS, range=(0, 1))
        self.scores = [old + float(new) for old, new in zip(self.scores, counts, strict=True)]
        for i in known[np.argsort(values, kind="stable")[:_LOWEST]]:
            heapq.heappush(self._low, (-float(scores[i]), int(-i), keys[i]))
        while len(self._low) > _LOWEST:
            heapq.heappop(self._low)


def survey(output: Output) -> Survey:
    """Goes over every table once, reading key and label columns only."""
    names = output.schema("results").names
    found = Survey(drawable="pages" in output.parts or "boxes" in names)
    label_column = next((name for name in ("entities", "objects") if name in names), "label")
    for block in output.scan("results", ("uri", "page", label_column, "score")):
        _results(found, block.rows)
    for block in output.scan("pages", ("uri", "page", "reader")):
        keys = _keys(block.rows)
        found.rows["pages"] += len(keys)
        _count(found, found.readers, "reader", block.rows["reader"], keys)
        if not found.rows["results"]:
            found.note_even(keys)
    for block in output.scan("errors", ("uri", "page", "code")):
        found.rows["errors"] += block.rows.num_rows
        _count(found, found.codes, "code", block.rows["code"], _keys(block.rows))
    for block in output.scan("documents", ("uri", "status")):
        found.rows["documents"] += block.rows.num_rows
        found.statuses.update(block.rows["status"].to_pylist())
    return found


def _results(found: Survey, rows: pa.RecordBatch) -> None:
    keys = _keys(rows)
    found.rows["results"] += len(keys)
    found.note_even(keys)
    answers = rows.column(2)
    if pa.types.is_list(answers.type):
        parents = pc.list_parent_indices(answers).to_numpy(zero_copy_only=False)
        entities = pc.list_flatten(answers)
        _count(found, found.labels, "label", pc.struct_field(entities, "label"), [keys[i] for i in parents])
        found.note_scores(_lowest(pc.struct_field(entities, "score"), parents, len(keys)), keys)
        return
    if pa.types.is_string(answers.type):
        _count(found, found.labels, "label", answers, keys)
    if pa.types.is_floating(rows["score"].type):
        found.note_scores(rows["score"].cast(pa.float64()).to_numpy(zero_copy_only=False), keys)


def _count(found: Survey, counter: Counter[str], kind: str, values: pa.Array, keys: Sequence[Key]) -> None:
    """Adds up values and notes the first pages of each."""
    if not len(values) or pa.types.is_null(values.type):
        return
    encoded = values.dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for i, name in enumerate(encoded.dictionary.to_pylist()):
        at = np.flatnonzero(indices == i)
        counter[name] += len(at)
        for row in at[:_EACH]:
            found.note(kind, name, keys[row])


def _lowest(scores: pa.Array, parents: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """The lowest score of each row's entities, nan where it has none."""
    lowest = np.full(rows, np.inf)
    np.minimum.at(lowest, parents, scores.cast(pa.float64()).fill_null(np.inf).to_numpy(zero_copy_only=False))
    return np.where(np.isinf(lowest), np.nan, lowest)


def _keys(rows: pa.RecordBatch) -> list[Key]:
    uris, pages = (rows[name].to_pylist() for name in ("uri", "page"))
    return [Key(uri or "", page or 0) for uri, page in zip(uris, pages, strict=True)]


def _turns(groups: Iterable[Sequence[Key]]) -> Iterator[Key]:
    """One of each group in turn, until all are through."""
    for turn in zip_longest(*groups):
        yield from (key for key in turn if key is not None)


def _first(keys: Iterable[Key], limit: int) -> Iterator[Key]:
    seen: set[Key] = set()
    for key in keys:
        if len(seen) == limit:
            return
        if key not in seen:
            seen.add(key)
            yield key
