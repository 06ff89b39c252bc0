"""An exact index and a compressed one of the same vectors: what they find, and how quickly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jobs.bench.common.turns import Contender, in_turn, timed
from stages.base import Row
from stages.vectors import Floats, Index, Passages, update

DIGITS = 1e-4
"""How far scores may be from those of numpy's products."""
EXACT, COMPRESSED = "exact", "IVF-PQ, first 100 scored exactly"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Both, asked the same questions."""

    recall: float
    """Share of the exact first hits that the compressed index finds."""
    together_s: dict[str, float]
    """Seconds for all questions at once, by index."""
    alone_s: dict[str, float]
    """Seconds for all questions one by one."""
    megabytes: dict[str, float]
    """Of index.faiss."""


def compare(exact: Path, compressed: Path, questions: Floats, *, top_k: int, turns: int) -> Compared:
    """``exact`` is the folder of a flat index; a compressed one is made beside it. ``questions`` (n, numbers)."""
    flat = Index(exact)
    update(compressed, Passages(texts=flat.texts, vectors=np.asarray(flat.vectors)), checkpoint="", kind="ivfpq")
    indexes = {EXACT: flat, COMPRESSED: Index(compressed)}
    works: dict[str, Callable[[], object]] = {}
    for name, index in indexes.items():
        works[f"{name}, together"] = partial(index.search, questions, top_k)
        works[f"{name}, one by one"] = partial(_one_by_one, index, questions, top_k)
    taken = in_turn([Contender(name=name, seconds=timed(work), turns=turns) for name, work in works.items()])
    best, found = (index.search(questions, top_k)[0].tolist() for index in indexes.values())
    folders = dict(zip(indexes, (exact, compressed), strict=True))
    return Compared(
        recall=float(np.mean([len(set(one) & set(other)) / top_k for one, other in zip(best, found, strict=True)])),
        together_s={name: taken[f"{name}, together"] for name in indexes},
        alone_s={name: taken[f"{name}, one by one"] for name in indexes},
        megabytes={name: (one / "index.faiss").stat().st_size / 1e6 for name, one in folders.items()},
    )


def _one_by_one(index: Index, questions: Floats, top_k: int) -> None:
    for one in questions:
        index.search(one[None], top_k)


def is_exact(hits: Sequence[Row], question: Floats, index: Index) -> bool:
    """Whether hits are the best of all passages, each compared by numpy; equal scores may change places."""
    scores = np.asarray(index.vectors) @ question
    place = {text: n for n, text in enumerate(index.texts["text"].to_pylist())}
    told = np.array([hit["score"] for hit in hits], np.float32)
    own = scores[[place[str(hit["text"])] for hit in hits]]
    best = np.sort(scores)[::-1][: len(hits)]
    return bool(np.allclose(told, best, atol=DIGITS) and np.allclose(told, own, atol=DIGITS))
