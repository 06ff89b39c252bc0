"""How a model did label by label, beside its metrics: a confusion matrix, or precision and recall of each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """A table of numbers with names on both sides."""

    name: str
    """``confusion_matrix`` or ``labels``; what its files are called."""
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    """One row a name of ``rows``, one number a name of ``columns``."""
    shades: tuple[tuple[float | None, ...], ...]
    """How dark each cell is drawn, 0 to 1; None is not shaded."""


def confusion_matrix(gold: Sequence[int], answers: Sequence[int], labels: Sequence[str]) -> Breakdown:
    """How often each right label (rows) was answered with each label (columns); shades are shares of a row."""
    counts = Counter(zip(gold, answers, strict=True))
    every = range(len(labels))
    values = tuple(tuple(float(counts[right, ours]) for ours in every) for right in every)
    return Breakdown(
        name="confusion_matrix",
        title="right labels (rows) and answers (columns)",
        rows=tuple(labels),
        columns=tuple(labels),
        values=values,
        shades=tuple(tuple(value / (sum(row) or 1.0) for value in row) for row in values),
    )


Item = tuple[object, ...]
"""Something to be found: its label, then whatever makes it one of its kind."""


def label_table(gold: Collection[Item], answers: Collection[Item], *, of: str) -> Breakdown:
    """Precision, recall and F1 of the items of each label, and of all; ``of`` says what the items are (``entities``).

    An item is right when it is in both.
    """
    there, found, right = (
        Counter(str(one[0]) for one in items) for items in (set(gold), set(answers), set(gold) & set(answers))
    )
    names = sorted(there | found)
    rows = [(name, right[name], found[name], there[name]) for name in names]
    rows.append(("all", right.total(), found.total(), there.total()))
    values = tuple((*_scores(r, f, t), float(t), float(f)) for _, r, f, t in rows)
    return Breakdown(
        name="labels",
        title=f"{of} by label",
        rows=tuple(row[0] for row in rows),
        columns=("precision", "recall", "F1", "there", "found"),
        values=values,
        shades=tuple((*row[:3], None, None) for row in values),
    )


def _scores(right: int, found: int, there: int) -> tuple[float, float, float]:
    """Precision, recall and F1; 0 where there is nothing to divide by."""
    return (
        right / found if found else 0.0,
        right / there if there else 0.0,
        2 * right / (found + there) if found + there else 0.0,
    )
