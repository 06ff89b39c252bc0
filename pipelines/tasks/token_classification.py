"""Token classification: one label a word, and the entities that neighbouring labels make.

A word takes the label of its first sub-word (or of their mean or maximum), from the window in which that sub-word has
most context. Words of a table or page are taken as they are; of a text alone, the tokenizer's words are classified, as
transformers' pipeline does with the same ``aggregation_strategy``. A word of which the tokenizer keeps no character is
outside of every entity, with score 0.

L tokens of a window, C labels, W words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from pipelines.family import Batch, Checkpoint, Metric, Options
from pipelines.tasks.base_text import text_of, unbatch
from pipelines.tasks.breakdown import Breakdown
from pipelines.tasks.entities import ENTITY_METRICS, OUTSIDE, Scheme, enclosing, entity_scores, entity_table
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.padding import IGNORED
from pipelines.tasks.scores import label_names, softmax
from pipelines.tasks.windowed import WindowedTask, WindowOptions, words_or_text
from pipelines.tasks.words import Ints, read_boxes
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions(WindowOptions):
    """Options of token classification."""

    aggregation_strategy: Literal["first", "average", "max"] = "first"
    """how a word's sub-words give its label: the first one's, the mean of their scores, or the surest one's"""
    label_all_sub_words: bool = False
    """train on every sub-word of a word, not on its first one alone"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aggregation_strategy not in ("first", "average", "max"):
            raise UsageError(
                f"task.aggregation_strategy must be first, average or max, not {self.aggregation_strategy!r}",
            )


class TokenClassification(WindowedTask):
    """Labels the words of a page or text and joins them to entities (named entities, form fields)."""

    name = "token-classification"
    summary = "labels every word and joins neighbours to entities"
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("words", "text", "boxes")
    gold = ("labels",)
    writes = ("words", "boxes", "word_labels", "word_scores", "entities")
    options_type = TokenClassificationOptions
    options: TokenClassificationOptions
    metric = Metric(name="entity_f1")
    more_metrics = ENTITY_METRICS
    auto_class = "AutoModelForTokenClassification"

    def __init__(self, checkpoint: Checkpoint, options: Options | None = None) -> None:
        super().__init__(checkpoint, options)
        self.labels: list[str] = []

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where there are neither words nor text."""
        if "words" not in columns and "text" not in columns:
            raise UsageError(f"{self.name} needs a column words or text; there are: {', '.join(sorted(columns))}")

    def load_processor(self) -> None:
        """Loads tokenizer, configuration and label names."""
        super().load_processor()
        self.labels = label_names(self.config)
        self.outside = OUTSIDE if OUTSIDE in self.labels else self.labels[0]
        self.scheme = Scheme(self.labels)

    def encode(self, row: Row) -> list[Example]:
        """One example a window: ``at`` and ``past`` bound each of its words' sub-words, ``word`` says which word."""
        page, words, _ = words_or_text(row, self.sub_words)
        there = self.boxed or (row.get("words") is not None and row.get("boxes") is not None)
        boxes = read_boxes(row, len(words)) if there else None
        firsts, ends = page.firsts(), page.ends()
        examples = []
        for window in self.lay(page, boxes if self.boxed else None):
            mine = slice(*np.searchsorted(firsts, window.own))
            shift = window.first - window.start
            more: dict[str, NDArray[np.generic]] = {
                "at": firsts[mine] + shift,
                "past": np.minimum(ends[mine], window.end).astype(np.int32) + shift,
                "word": page.word[firsts[mine]],
            }
            examples.append(self.window_example(window, more))
        return examples

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Logits (L, C) of each window."""
        outputs = unbatch({"logits": self.run(batch).logits})
        return [{"logits": out["logits"][: one.length]} for one, out in zip(examples, outputs, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """Labels, scores and entities of the row's words; entities of boxed words have the box around them."""
        _, words, spans = words_or_text(row, self.sub_words)
        labels, scores = [self.outside] * len(words), [0.0] * len(words)
        for one, out in zip(examples, outputs, strict=True):
            shares = self._word_shares(softmax(np.asarray(out["logits"], np.float32)), one)
            best = shares.argmax(axis=1)
            for word, label, score in zip(one.arrays["word"].tolist(), best, shares.max(axis=1).tolist(), strict=True):
                labels[word], scores[word] = self.labels[label], score
        boxes = row.get("boxes") if spans is None else None
        return {
            "words": words,
            "boxes": boxes,
            "word_labels": labels,
            "word_scores": scores,
            "entities": self._entities(row, words, spans, labels, scores),
        }

    def _word_shares(self, shares: NDArray[np.float32], one: Example) -> NDArray[np.float32]:
        """Each word's probabilities (words of the window, C) from those of its sub-words."""
        how, at, past = self.options.aggregation_strategy, one.arrays["at"], one.arrays["past"]
        if how == "first" or not len(at):
            return np.asarray(shares[at])
        parts = [shares[start:end] for start, end in zip(at, past, strict=True)]
        if how == "average":
            return np.stack([part.mean(axis=0) for part in parts])
        return np.stack([part[part.max(axis=1).argmax()] for part in parts])

    def _entities(
        self,
        row: Row,
        words: Sequence[str],
        spans: Sequence[tuple[int, int]] | None,
        labels: Sequence[str],
        scores: Sequence[float],
    ) -> list[Row]:
        boxes = read_boxes(row, len(words)) if spans is None and row.get("boxes") is not None else None
        return [
            {
                "text": " ".join(words[one.start : one.end])
                if spans is None
                else _part(row, spans[one.start : one.end]),
                "label": one.label,
                "score": one.score,
                "word_start": one.start,
                "word_end": one.end,
                "box": None if boxes is None else enclosing(boxes[one.start : one.end]),
            }
            for one in self.scheme.entities(labels, scores)
        ]

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (L,): the word's label at its first sub-word, or at all, once a page; IGNORED elsewhere."""
        gold = row.get("labels")
        _, words, _ = words_or_text(row, self.sub_words)
        if not isinstance(gold, list) or len(gold) != len(words):
            there = f"{len(gold)} labels" if isinstance(gold, list) else "no labels"
            raise RowError(Code.ENCODE_FAILED, f"the row has {len(words)} words but {there}")
        numbers = {label: number for number, label in enumerate(self.labels)}
        unknown = next((label for label in gold if label not in numbers), None)
        if unknown is not None:
            known = ", ".join(self.labels)
            raise RowError(Code.ENCODE_FAILED, f"the checkpoint knows no label {unknown!r}; it has: {known}")
        wanted: Ints = np.array([numbers[label] for label in gold], np.int32)
        return [_labelled(one, wanted, every=self.options.label_all_sub_words) for one in examples]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy summed over labelled words, over ``num_items``."""
        return cross_entropy(outputs.logits, labels, num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """Entity F1, precision and recall, and the share of words labelled right (seqeval)."""
        right = [cast("list[str]", row["labels"]) for row in gold]
        return entity_scores(right, [cast("list[str]", row["word_labels"]) for row in answers])

    def breakdown(self, gold: Sequence[Row], answers: Sequence[Row]) -> Breakdown:
        """Precision and recall of each kind of entity (seqeval's entities)."""
        right = [cast("list[str]", row["labels"]) for row in gold]
        return entity_table(right, [cast("list[str]", row["word_labels"]) for row in answers])


class PageTokenClassification(TokenClassification):
    """The same for models that see where a word stands on the page."""

    reads: ClassVar[tuple[str, ...]] = ("words", "boxes")
    optional = ()
    boxed = True


def _part(row: Row, spans: Sequence[tuple[int, int]]) -> str:
    return text_of(row)[spans[0][0] : spans[-1][1]]


def _labelled(one: Example, wanted: Ints, *, every: bool) -> Example:
    labels: Ints = np.full(one.length, IGNORED, np.int32)
    at, past, word = (one.arrays[name] for name in ("at", "past", "word"))
    if every:
        for start, end, label in zip(at.tolist(), past.tolist(), wanted[word], strict=True):
            labels[start:end] = label
    else:
        labels[at] = wanted[word]
    return replace(one, arrays={**one.arrays, "labels": labels})
