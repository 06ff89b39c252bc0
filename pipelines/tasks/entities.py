"""Word labels to entities: prefixes of IOB, IOBES and BILOU read as ``transformers`` reads IOB.

An entity begins at a B, S or U label, at a label of another kind than the word's before, and after an E, S, L or U;
O is no entity. Labels without a prefix group equal neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.family import Metric
from pipelines.tasks.breakdown import Breakdown, Item, label_table

OUTSIDE = "O"
ENTITY_METRICS = (Metric(name="entity_precision"), Metric(name="entity_recall"), Metric(name="word_accuracy"))
"""What ``entity_scores`` gives besides ``entity_f1``."""
_OPENS = frozenset("BSU")
_CLOSES = frozenset("ESLU")


@dataclass(frozen=True, kw_only=True)
class Entity:
    """Neighbouring words of one kind."""

    label: str
    """The kind, without prefix."""
    score: float
    """Mean of its words' scores."""
    start: int
    """First word."""
    end: int
    """The word after its last."""


class Scheme:
    """How a checkpoint's labels mark entities; E, S, L and U are prefixes only of kinds that also have B or I."""

    def __init__(self, labels: Iterable[str]) -> None:
        names = list(labels)
        kinds = {name[2:] for name in names if name[:2] in ("B-", "I-")}
        self._parts = {name: self._split(name, kinds) for name in names}

    @staticmethod
    def _split(name: str, kinds: set[str]) -> tuple[str, str]:
        prefix, dash, kind = name.partition("-")
        if dash and (prefix in ("B", "I") or (prefix in _CLOSES and kind in kinds)):
            return prefix, kind
        return "I", name

    def entities(self, labels: Sequence[str], scores: Sequence[float]) -> list[Entity]:
        """The entities among words with these labels and scores, in order."""
        found: list[Entity] = []
        begin, before = 0, ("", "")
        for place, part in enumerate([*(self._parts[name] for name in labels), ("B", "")]):
            opens = part[0] in _OPENS or part[1] != before[1] or before[0] in _CLOSES
            if opens:
                if before[1] not in ("", OUTSIDE):
                    score = float(np.mean(np.array(scores[begin:place], np.float32)))
                    found.append(Entity(label=before[1], score=score, start=begin, end=place))
                begin = place
            before = part
        return found


def entity_scores(gold: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """Entity F1, precision and recall of word labels, row by row, and the share of words labelled right (seqeval)."""
    from seqeval.metrics import accuracy_score
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    scores = precision_recall_fscore_support(gold, answers, average="micro", zero_division=0)
    precision, recall, f1 = (float(score) for score in scores[:3])
    accuracy = float(accuracy_score(gold, answers))
    return {"entity_f1": f1, "entity_precision": precision, "entity_recall": recall, "word_accuracy": accuracy}


def entity_table(gold: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> Breakdown:
    """Precision and recall of each kind of entity in word labels, row by row (seqeval's entities)."""
    return label_table(_items(gold), _items(answers), of="entities")


def _items(rows: Sequence[Sequence[str]]) -> set[Item]:
    """Every entity as its label, its row, and its first and last word."""
    from seqeval.metrics.sequence_labeling import get_entities

    return {(label, number, *span) for number, labels in enumerate(rows) for label, *span in get_entities(labels)}


def enclosing(boxes: NDArray[np.int16]) -> list[int]:
    """The smallest box around ``boxes``, (n, 4) with n >= 1."""
    return [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
