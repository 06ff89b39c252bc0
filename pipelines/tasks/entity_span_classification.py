"""Named entities by classifying every span of words up to a length, overlaps resolved by score (LUKE, section 4.3 of
Yamada et al. 2020, https://arxiv.org/abs/2010.01057).

All spans of a text are seen at once, as the model was trained. A text that is longer than the model takes is read in
windows; each span is asked in one of them, with words on both sides where there are any.

E spans of a window, C labels, W words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import TextOptions, text_of, unbatch
from pipelines.tasks.breakdown import Breakdown
from pipelines.tasks.entities import ENTITY_METRICS, OUTSIDE, Scheme, entity_scores, entity_table
from pipelines.tasks.entity_inputs import EntityTask, Span, entity_arrays
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.padding import pad_one
from pipelines.tasks.scores import label_names, softmax
from pipelines.tasks.words import read_words
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch

WORD = re.compile(r"\w+|[^\w\s]")
"""Words of a text without ``words``: runs of letters and digits, and every other sign by itself."""


@dataclass(frozen=True, kw_only=True)
class SpanOptions(TextOptions):
    """Options of named entities by spans."""

    max_span_words: int = 16
    """longest entity in words"""
    max_spans: int = 1024
    """most spans that the model is asked at once; a text with more is asked several times"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_span_words", "max_spans"):
            if getattr(self, name) < 1:
                raise UsageError(f"task.{name} must be 1 or more, not {getattr(self, name)}")


class EntitySpanClassification(EntityTask):
    """Finds the entities of a text or of given words."""

    name = "entity-span-classification"
    summary = "named entities: every span of words classified, overlaps resolved by score"
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("words", "text")
    gold = ("labels",)
    writes = ("words", "word_labels", "word_scores", "entities")
    options_type = SpanOptions
    options: SpanOptions
    metric = Metric(name="entity_f1")
    more_metrics = ENTITY_METRICS
    auto_class = "LukeForEntitySpanClassification"

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where there are neither words nor text."""
        if "words" not in columns and "text" not in columns:
            raise UsageError(f"{self.name} needs a column words or text; there are: {', '.join(sorted(columns))}")

    def load_processor(self) -> None:
        """Loads tokenizer, configuration and label names; the first label stands for no entity."""
        super().load_processor()
        self.labels = label_names(self.config)
        marked = (f"{prefix}-{label}" for label in self.labels for prefix in "BIESLU")
        self.scheme = Scheme([OUTSIDE, *self.labels, *marked])

    # ---- encoding

    def encode(self, row: Row) -> list[Example]:
        """One example for the spans asked at once: ``span_words`` (E, 2) are their first word and the one after."""
        text, places = _words(row)
        ids, tokens = self.mention_tokens(text, places)
        room = self.limit - 2
        examples = []
        for words, own in _windows(tokens, len(ids), room, self.options.max_span_words):
            whole = len(ids) <= room
            first, last = (0, len(ids)) if whole else (tokens[words[0]][0], tokens[words[1] - 1][1])
            framed = [self.tokenizer.cls_token_id, *ids[first:last][:room], self.tokenizer.sep_token_id]
            spans = [(i, j) for i in own for j in range(i + 1, min(i + self.options.max_span_words, words[1]) + 1)]
            for at in range(0, len(spans), self.options.max_spans):
                some = spans[at : at + self.options.max_spans]
                asked = [(tokens[i][0] - first, min(tokens[j - 1][1] - first, room)) for i, j in some]
                arrays = {
                    "input_ids": np.array(framed, np.int32),
                    "span_words": np.array(some, np.int32),
                    **entity_arrays(asked, [self.masks[0]] * len(some)),
                }
                examples.append(Example(arrays=arrays, length=len(framed), extra=len(some)))
        return examples

    # ---- the model half

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors with ``entity_start_positions`` and ``entity_end_positions`` (B, E), the latter inclusive."""
        return {
            **super().collate(examples),
            "entity_start_positions": pad_one([one.arrays["entity_starts"] for one in examples], 0),
            "entity_end_positions": pad_one([np.asarray(one.arrays["entity_ends"]) - 1 for one in examples], 0),
        }

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Logits (E, C) of each example's spans."""
        outputs = unbatch({"logits": self.run(batch).logits})
        return [{"logits": out["logits"][: one.extra]} for one, out in zip(examples, outputs, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """Entities, the surest first to be taken; words take their entity's label and score, as in IOB2."""
        text, places = _words(row)
        labels, scores = [OUTSIDE] * len(places), [1.0] * len(places)
        found: list[tuple[float, Span, str]] = []
        for one, out in zip(examples, outputs, strict=True):
            shares = softmax(np.asarray(out["logits"], np.float32))
            for (start, end), share in zip(one.arrays["span_words"].tolist(), shares, strict=True):
                best = int(share.argmax())
                if best:
                    found.append((float(share[best]), (start, end), self.labels[best]))
                if end == start + 1:
                    scores[start] = float(share[0])
        entities = []
        for score, (start, end), label in sorted(found, key=lambda one: (-one[0], one[1])):
            if all(each == OUTSIDE for each in labels[start:end]):
                labels[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
                scores[start:end] = [score] * (end - start)
                part = text[places[start][0] : places[end - 1][1]]
                known = {"text": part, "label": label, "score": score, "box": None}
                entities.append({**known, "word_start": start, "word_end": end})
        words = [text[start:end] for start, end in places]
        entities.sort(key=lambda one: cast("int", one["word_start"]))
        return {"words": words, "word_labels": labels, "word_scores": scores, "entities": entities}

    # ---- training

    def _iob(self, row: Row, count: int) -> tuple[list[str], dict[Span, str]]:
        """The row's gold labels as IOB2, and their entities. Raises RowError where they do not fit."""
        gold = row.get("labels")
        if not isinstance(gold, list) or len(gold) != count:
            there = f"{len(gold)} labels" if isinstance(gold, list) else "no labels"
            raise RowError(Code.ENCODE_FAILED, f"the row has {count} words but {there}")
        none = (OUTSIDE, self.labels[0])
        kinds = [label if label not in none else OUTSIDE for label in gold]
        unknown = next((one for one in kinds if one != OUTSIDE and _kind(one, self.labels) is None), None)
        if unknown is not None:
            known = ", ".join(self.labels[1:])
            raise RowError(Code.ENCODE_FAILED, f"the checkpoint knows no entity {unknown!r}; it has: {known}")
        told, entities = [OUTSIDE] * count, {}
        for one in self.scheme.entities([OUTSIDE if kind == OUTSIDE else kind for kind in kinds], [1.0] * count):
            told[one.start : one.end] = [f"B-{one.label}", *[f"I-{one.label}"] * (one.end - one.start - 1)]
            entities[one.start, one.end] = one.label
        return told, entities

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (E,): the label of each span, the first one for no entity."""
        _, entities = self._iob(row, len(_words(row)[1]))
        long = next((span for span in entities if span[1] - span[0] > self.options.max_span_words), None)
        if long is not None:
            what = f"the entity of words {long[0]} to {long[1]} is longer than task.max_span_words"
            raise RowError(Code.ENCODE_FAILED, f"{what} {self.options.max_span_words}")
        numbers = {label: number for number, label in enumerate(self.labels)}
        labelled = []
        for one in examples:
            spans = [(start, end) for start, end in one.arrays["span_words"].tolist()]
            labels = np.array([numbers[entities[span]] if span in entities else 0 for span in spans], np.int32)
            labelled.append(replace(one, arrays={**one.arrays, "labels": labels}))
        return labelled

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy summed over spans, over ``num_items``."""
        return cross_entropy(outputs.logits, labels, num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """Entity F1, precision and recall, and the share of words labelled right (seqeval)."""
        return entity_scores(*self._both(gold, answers))

    def breakdown(self, gold: Sequence[Row], answers: Sequence[Row]) -> Breakdown:
        """Precision and recall of each kind of entity."""
        return entity_table(*self._both(gold, answers))

    def _both(self, gold: Sequence[Row], answers: Sequence[Row]) -> tuple[list[list[str]], list[list[str]]]:
        """Right word labels as IOB2, and ours."""
        ours = [cast("list[str]", row["word_labels"]) for row in answers]
        return [self._iob(row, len(one))[0] for row, one in zip(gold, ours, strict=True)], ours


def _kind(label: str, labels: Sequence[str]) -> str | None:
    """The entity label that a word label stands for: itself, or what is left without its prefix."""
    return next((kind for kind in (label, label[2:]) if kind in labels), None)


def _words(row: Row) -> tuple[str, list[Span]]:
    """The row's text and the characters of its words; words that are given are joined by spaces."""
    if row.get("words") is not None:
        words = read_words(row)
        empty = next((place for place, word in enumerate(words) if not word), None)
        if empty is not None:
            raise RowError(Code.ENCODE_FAILED, f"word {empty} is empty")
        ends = np.cumsum([len(word) + 1 for word in words]).tolist()
        return " ".join(words), [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)]
    if row.get("text") is None:
        raise RowError(Code.ENCODE_FAILED, "the row has neither words nor text")
    text = text_of(row)
    return text, [found.span() for found in WORD.finditer(text)]


def _windows(tokens: Sequence[Span], total: int, room: int, longest: int) -> Iterator[tuple[Span, range]]:
    """Words (first, the one after the last) of each window of at most ``room`` tokens, and at which of them the spans
    begin that it answers for; neighbours share ``longest`` words before these and, where they fit, after them."""
    start = begin = 0
    while begin < len(tokens):
        end = begin + 1
        while end < len(tokens) and (total <= room or tokens[end][1] - tokens[start][0] <= room):
            end += 1
        following = len(tokens) if end == len(tokens) else max(begin + 1, end - 2 * longest)
        yield (start, end), range(begin, following)
        start, begin = max(start + 1, following - longest), following
        while start < begin < len(tokens) and tokens[begin][1] - tokens[start][0] > room:
            start += 1
