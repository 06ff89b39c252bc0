"""Entity F1 of what a run found against what the documents say, by text: what a reader of the rows would judge.

Nothing is aligned, so an entity whose words were read wrongly counts as missed, and as wrongly found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

DEFINITION = (
    "An entity is right when its document has one of the same label and the same text; texts are compared by their "
    "letters and digits, upper and lower case alike. Entities of a document that are equal count once."
)

Entity = tuple[str, str]
"""Label and text."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Counts over documents."""

    right: int
    found: int
    there: int
    """How many the documents say."""

    @property
    def f1(self) -> float:
        """2 · right / (found + there); 0 where both are 0."""
        return 2 * self.right / (self.found + self.there) if self.found + self.there else 0.0


def normalised(text: str) -> str:
    """Letters and digits, case folded."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def score(
    said: Mapping[str, Iterable[Entity]], found: Mapping[str, Iterable[Entity]], labels: Sequence[str]
) -> dict[str, Score]:
    """The score of each label, and of all as ``""``, over the documents of ``said``; a document that ``found`` lacks
    counts as one in which nothing was found."""
    counts = {label: [0, 0, 0] for label in ("", *labels)}
    for name, entities in said.items():
        right = {(label, normalised(text)) for label, text in entities}
        ours = {(label, normalised(text)) for label, text in found.get(name, ())}
        for at, group in enumerate((right & ours, ours, right)):
            for label, _ in group:
                for total in ("", label):
                    counts[total][at] += 1
    return {label: Score(right=r, found=f, there=t) for label, (r, f, t) in counts.items()}
