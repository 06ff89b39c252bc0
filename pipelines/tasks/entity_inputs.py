"""Entities as input beside the words of a text, as LUKE takes them: spans of characters, and what stands there.

L tokens of the longest text of a batch, B texts, E entities of the one that has most, M tokens of the longest mention.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import regex

from pipelines.family import Batch
from pipelines.tasks.base_text import TextTask, text_of
from pipelines.tasks.padding import pad_one
from stages.base import Row
from stages.errors import CheckpointError, Code, RowError, UsageError
from stages.examples import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import LukeTokenizer

Span = tuple[int, int]
MASK = "[MASK]"
"""The entity that stands for an unknown one."""


class EntityTask(TextTask):
    """A task on a text with entities in it; words are cut at the limit, entities never."""

    optional: ClassVar[tuple[str, ...]] = ()
    tokenizer: LukeTokenizer
    entities: dict[str, int]
    """The entity vocabulary."""

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where entities are named but not placed."""
        super().check(columns)
        if "entity_names" in columns and "entity_spans" not in columns:
            raise UsageError("entities need their places: a column 'entity_spans' of [first character, the one after]")

    def load_processor(self) -> None:
        """Loads tokenizer, configuration and the entity vocabulary."""
        super().load_processor()
        if not hasattr(self.tokenizer, "entity_vocab"):
            raise CheckpointError(f"{self.checkpoint.ref} has no entity vocabulary: it is no LUKE")
        self.entities = dict(cast("dict[str, int]", self.tokenizer.entity_vocab))
        told = self.tokenizer.init_kwargs
        names = [str(told.get(f"entity_{n}_token", default)) for n, default in ((1, "<ent>"), (2, "<ent2>"))]
        self.marks = cast("list[int]", self.tokenizer.convert_tokens_to_ids(names))
        self.masks = [self.entities[MASK], self.entities.get("[MASK2]", self.entities[MASK])]

    # ---- encoding

    def entity_numbers(self, row: Row, count: int) -> list[int]:
        """Numbers of the row's ``entity_names``; [MASK] for all where it has none. Raises RowError for an unknown."""
        names = row.get("entity_names")
        if names is None:
            return [self.masks[0]] * count
        if not isinstance(names, list) or len(names) != count:
            there = f"{len(names)} entities" if isinstance(names, list) else f"{names!r} as entities"
            raise RowError(Code.ENCODE_FAILED, f"the row has {count} entity spans but {there}")
        unknown = next((name for name in names if name not in self.entities), None)
        if unknown is not None:
            raise RowError(Code.ENCODE_FAILED, f"the entity {unknown!r} is not in the checkpoint's entity vocabulary")
        return [self.entities[name] for name in names]

    def entity_example(
        self, text: str, spans: Sequence[Span], numbers: Sequence[int], *, marked: bool = False
    ) -> Example:
        """A text with its entities as one example: ``entity_ids``, ``entity_starts`` and ``entity_ends`` (E,).

        ``marked`` puts LUKE's marks around the first one or two mentions, as the classifying heads were trained.
        Raises RowError where cutting the text loses a mention.
        """
        ids, places = self.mention_tokens(text, spans)
        if marked:
            ids, places = _marked(ids, places, self.marks)
        room = self.limit - 2
        lost = next((span for span, place in zip(spans, places, strict=True) if place[1] > room), None)
        if lost is not None:
            what = f"the entity at characters {lost[0]} to {lost[1]} lies beyond the model's {self.limit} tokens"
            raise RowError(Code.ENCODE_FAILED, f"{what}: shorten the text")
        framed = [self.tokenizer.cls_token_id, *ids[:room], self.tokenizer.sep_token_id]
        arrays: dict[str, NDArray[np.generic]] = {"input_ids": np.array(framed, np.int32)}
        if spans:
            arrays |= entity_arrays(places, numbers)
        return Example(arrays=arrays, length=len(framed), extra=len(spans), group=int(bool(spans)))

    def mention_tokens(self, text: str, spans: Sequence[Span]) -> tuple[list[int], list[Span]]:
        """The text's tokens, split where a mention begins or ends, and the tokens of each mention.

        A space before such a place goes with what follows it, as in the words that the model was trained on.
        """
        at: dict[int, int] = {}
        cuts = [0]
        for place in sorted(set(itertools.chain.from_iterable(spans))):
            cut = place - 1 if place > 0 and text[place - 1] == " " else place
            if cut != cuts[-1]:
                cuts.append(cut)
            at[place] = len(cuts) - 1
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        pieces = [text[start:end] for start, end in itertools.pairwise([*cuts, len(text)])]
        found = [one.ids for one in backend.encode_batch(pieces, add_special_tokens=False)]
        before = [0, *itertools.accumulate(len(ids) for ids in found)]
        return list(itertools.chain.from_iterable(found)), [
            (before[at[start]], before[at[end]]) for start, end in spans
        ]

    # ---- the model half

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors; with entities ``entity_ids``, ``entity_attention_mask`` (B, E) and their positions.

        Positions reach as far as the longest mention of the batch: those that the tokenizer itself would add for
        longer ones say nothing, and their embeddings are 30 times the entities'.
        """
        batch = dict(super().collate(examples))
        if "entity_ids" in examples[0].arrays:
            batch |= entity_batch(examples, self.entities["[PAD]"], self.tokenizer.max_mention_length)
        return batch


def read_spans(row: Row, text: str, count: int | None = None) -> list[Span]:
    """The row's ``entity_spans``. Raises RowError for one outside the text, empty, or that cuts a character."""
    spans = row.get("entity_spans")
    if not isinstance(spans, list) or not spans or (count is not None and len(spans) != count):
        there = f"{len(spans)} entity spans" if isinstance(spans, list) else "no entity spans"
        raise RowError(Code.ENCODE_FAILED, f"the row has {there}; the task needs {count or 'one or more'}")
    whole = characters(text)
    for span in spans:
        _check_span(span, text, whole)
    return [(int(start), int(end)) for start, end in spans]


def characters(text: str) -> Collection[int]:
    """Where a character begins, as a reader counts them, and the end (Unicode's extended grapheme clusters,
    https://unicode.org/reports/tr29): a letter and its accents, an emoji of several code points are one."""
    if text.isascii() and "\r" not in text:
        return range(len(text) + 1)
    return {*(found.start() for found in regex.finditer(r"\X", text)), len(text)}


def _check_span(span: object, text: str, whole: Collection[int]) -> None:
    if not isinstance(span, list | tuple) or len(span) != 2 or not all(type(place) is int for place in span):
        raise RowError(Code.ENCODE_FAILED, f"the entity span {span!r} is not [first character, the one after the last]")
    start, end = span
    if not 0 <= start < end <= len(text):
        raise RowError(
            Code.ENCODE_FAILED,
            f"the entity span {start} to {end} is empty or outside the text of {len(text)} characters",
        )
    for place in (start, end):
        if place not in whole:
            raise RowError(Code.ENCODE_FAILED, f"the entity span {start} to {end} cuts the character at {place} in two")


def entity_arrays(places: Sequence[Span], numbers: Sequence[int]) -> dict[str, NDArray[np.generic]]:
    """``entity_ids``, ``entity_starts``, ``entity_ends`` (E,): tokens counted with the one before the text."""
    tokens = np.array(places, np.int32).reshape(-1, 2) + 1
    return {"entity_ids": np.array(numbers, np.int32), "entity_starts": tokens[:, 0], "entity_ends": tokens[:, 1]}


def entity_batch(examples: Sequence[Example], pad_id: int, longest_mention: int) -> Batch:
    """The model's entity inputs (B, E) and ``entity_position_ids`` (B, E, M), -1 where there is none."""
    import torch

    parts = [one.arrays for one in examples]
    starts_BE = pad_one([each["entity_starts"] for each in parts], 0)
    ends_BE = pad_one([each["entity_ends"] for each in parts], 0)
    there_BE = pad_one([np.ones(len(each["entity_ids"]), np.int8) for each in parts], 0)
    positions_BE1 = starts_BE[..., None]
    positions_BEM = positions_BE1 + torch.arange(min(longest_mention, int((ends_BE - starts_BE).max())))
    return {
        "entity_ids": pad_one([each["entity_ids"] for each in parts], pad_id),
        "entity_attention_mask": there_BE,
        "entity_position_ids": torch.where(positions_BEM < ends_BE[..., None], positions_BEM, -1),
    }


def _marked(ids: list[int], places: list[Span], marks: Sequence[int]) -> tuple[list[int], list[Span]]:
    """Marks around each mention, the first's outermost where two begin together; mentions include their marks."""
    ids, found = list(ids), list(places)
    last_first = sorted(range(len(places)), key=lambda n: (-places[n][0], n))
    for n in last_first:
        start, end = places[n]
        ids[end:end] = [marks[n]]
        ids[start:start] = [marks[n]]
    before = {n: 2 * (len(last_first) - 1 - rank) for rank, n in enumerate(last_first)}
    for n, (start, end) in enumerate(places):
        found[n] = (start + before[n], end + before[n] + 2)
    return ids, found


def text_with_spans(row: Row, count: int | None = None) -> tuple[str, list[Span]]:
    """The row's text and its entity spans; none where the row has no such column and ``count`` is None."""
    text = text_of(row)
    if count is None and row.get("entity_spans") is None:
        if row.get("entity_names") is not None:
            raise RowError(Code.ENCODE_FAILED, "the row names entities but not their places (entity_spans)")
        return text, []
    return text, read_spans(row, text, count)
