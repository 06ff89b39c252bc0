"""A row's words and boxes, checked; words to sub-words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.base import Row
from stages.errors import Code, RowError

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerFast

Ints = NDArray[np.int32]
Boxes = NDArray[np.int16]

FAR = 1000
"""The lower right corner of a page, in box units."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SubWords:
    """A page's words, or a text, as T sub-words without special tokens."""

    ids: Ints
    """(T,) the vocabulary's numbers."""
    word: Ints
    """(T,) which word each belongs to; never falls. A word of which the tokenizer keeps no character has none."""
    chars: Ints
    """(T, 2) first character and the one after the last: within its word, or within the text where that was given."""

    def firsts(self) -> Ints:
        """The first sub-word of each word that has any, in order."""
        return np.flatnonzero(np.diff(self.word, prepend=-1)).astype(np.int32)

    def ends(self) -> Ints:
        """The sub-word after the last of each word that has any, in order."""
        return np.append(self.firsts()[1:], len(self.ids)).astype(np.int32)[: len(self.firsts())]


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """The special tokens that a tokenizer puts around one text, or around a pair; read off an example."""

    parts: tuple[Ints, ...]
    """Special tokens before the first text, after it, and, for a pair, after the second; each may be empty."""
    types: tuple[int, ...]
    """Token types of the first part, the first text, the next part and so on."""

    @property
    def size(self) -> int:
        """How many special tokens there are."""
        return sum(len(part) for part in self.parts)


class SubWordTokenizer:
    """A fast tokenizer, asked once a page without truncation. It keeps the last page, for the next question on it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._lead = _lead(tokenizer)
        self._last: tuple[list[str], SubWords] | None = None
        self.single = _frame(self._encode("a", special=True))
        self.pair = _frame(self._encode("a", "a", special=True))

    def words(self, words: list[str]) -> SubWords:
        """The sub-words of a page's words; each word is split by itself."""
        if self._last is None or self._last[0] != words:
            self._last = (list(words), self.question(words))
        return self._last[1]

    def question(self, words: list[str]) -> SubWords:
        """The same for words that will not come again: the last page stays."""
        return _sub_words(self._encode(words))

    def text(self, text: str) -> SubWords:
        """The sub-words of a text; its words are those that the tokenizer sees."""
        found = _sub_words(self._encode(text))
        seen = np.cumsum(np.diff(found.word, prepend=found.word[:1]) != 0)  # words that are dropped are not counted
        return SubWords(ids=found.ids, word=seen.astype(np.int32), chars=found.chars)

    def _encode(self, text: str | list[str], pair: str | None = None, *, special: bool = False) -> Encoding:
        self._backend.no_truncation()  # a call of the tokenizer elsewhere leaves its own behind
        self._backend.no_padding()
        split = isinstance(text, list)
        if isinstance(text, list) and self._lead:
            text = [word and self._lead + word for word in text]
        return self._backend.encode(text, pair, is_pretokenized=split, add_special_tokens=special)


def _lead(tokenizer: PreTrainedTokenizerFast) -> str:
    """What a word alone needs before it to be cut as within a text: a space for byte-level vocabularies (RoBERTa,
    LUKE), as ``add_prefix_space`` gives it."""
    from tokenizers.pre_tokenizers import ByteLevel

    cutter = tokenizer.backend_tokenizer.pre_tokenizer
    return " " if isinstance(cutter, ByteLevel) and not cutter.add_prefix_space else ""


def _sub_words(found: Encoding) -> SubWords:
    return SubWords(
        ids=np.array(found.ids, np.int32),
        word=np.array(found.word_ids, np.int32),
        chars=np.array(found.offsets, np.int32).reshape(-1, 2),
    )


def _frame(example: Encoding) -> Frame:
    parts: list[list[int]] = [[]]
    types: list[int] = []
    before = None
    for number, sequence, kind in zip(example.ids, example.sequence_ids, example.type_ids, strict=True):
        if sequence is None:
            if not parts[-1]:
                types.append(kind)
            parts[-1].append(number)
        elif sequence != before:
            types += [kind] if parts[-1] else [kind, kind]
            parts.append([])
        before = sequence
    if not parts[-1]:
        types.append(types[-1])
    return Frame(parts=tuple(np.array(part, np.int32) for part in parts), types=tuple(types))


def read_words(row: Row) -> list[str]:
    """The row's words. Raises RowError(ENCODE_FAILED) where they are missing or not text."""
    words = row.get("words")
    if not isinstance(words, list):
        raise RowError(Code.ENCODE_FAILED, "the row has no words")
    for place, word in enumerate(words):
        if not isinstance(word, str):
            raise RowError(Code.ENCODE_FAILED, f"word {place} is not text but {word!r}")
    return words


def read_boxes(row: Row, count: int) -> Boxes:
    """The row's boxes, (count, 4). Raises RowError(ENCODE_FAILED), naming the first one that cannot be."""
    boxes = row.get("boxes")
    if not isinstance(boxes, list) or len(boxes) != count:
        there = f"{len(boxes)} boxes" if isinstance(boxes, list) else "no boxes"
        raise RowError(Code.ENCODE_FAILED, f"the row has {count} words but {there}")
    for place, box in enumerate(boxes):
        if not _is_box(box):
            raise RowError(
                Code.ENCODE_FAILED,
                f"the box of word {place} is {box!r}: a box is x0, y0, x1, y1, whole numbers from 0 to {FAR} of the "
                "page, with x0 <= x1 and y0 <= y1",
            )
    return np.array(boxes, np.int16).reshape(-1, 4)


def _is_box(box: object) -> bool:
    if not isinstance(box, list | tuple) or len(box) != 4:
        return False
    if not all(type(edge) is int for edge in box):
        return False
    x0, y0, x1, y1 = box
    return bool(0 <= x0 <= x1 <= FAR and 0 <= y0 <= y1 <= FAR)
