"""How well words were read: recall and precision against annotated words, page by page, as multisets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Over all pages together."""

    annotated: int
    read: int
    right: int
    """Words that were read and are annotated on the same page, each as often as it is on both."""

    @property
    def recall(self) -> float:
        """Share of the annotated words that were read."""
        return self.right / max(self.annotated, 1)

    @property
    def precision(self) -> float:
        """Share of the words read that are annotated."""
        return self.right / max(self.read, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.right / max(self.annotated + self.read, 1)


def quality(pages: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Quality:
    """``pages``: (annotated words, words read) of each. Words are equal letter by letter, signs included, case not:
    the receipts of ICDAR 2019 (SROIE) are annotated in capitals whatever is printed."""
    annotated = read = right = 0
    for words, others in pages:
        gold, found = ([word.casefold() for word in some] for some in (words, others))
        annotated += len(gold)
        read += len(found)
        right += (Counter(gold) & Counter(found)).total()
    return Quality(annotated=annotated, read=read, right=right)
