"""What every task in windows shares: a page of words (with boxes, for families that see the layout) or a long text.

L tokens of the longest window of a batch, B windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import TextOptions, TextTask, text_of
from pipelines.tasks.padding import IGNORED, attention_mask, pad_one
from pipelines.tasks.windows import Window, windows
from pipelines.tasks.words import Ints, SubWords, SubWordTokenizer, read_boxes, read_words
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL_INPUTS = ("input_ids", "token_type_ids", "bbox")
"""Arrays of an example that the model sees; the rest is for ``forward`` and ``decode``."""


@dataclass(frozen=True, kw_only=True)
class WindowOptions(TextOptions):
    """Options of tasks that cut what is longer than the model into windows."""

    max_length: int = 0
    """longest window in tokens, special ones and a question included; 0 takes the task's default"""
    stride: int | None = None
    """tokens that neighbouring windows share; unset takes the task's default"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is not None and self.stride < 0:
            raise UsageError(f"task.stride must be 0 or more, not {self.stride}")


class WindowedTask(TextTask):
    """A task whose rows become one example a window; ``boxed`` families also read the words' boxes."""

    boxed: ClassVar[bool] = False
    """Whether the model sees boxes."""
    options_type = WindowOptions
    options: WindowOptions
    sub_words: SubWordTokenizer

    def load_processor(self) -> None:
        """Loads the tokenizer and the configuration, and checks that windows can be laid."""
        super().load_processor()
        self.sub_words = SubWordTokenizer(self.tokenizer)
        room = self.window_length - self.sub_words.pair.size
        if self.stride >= room:
            raise UsageError(
                f"task.stride {self.stride} is too much for windows of {self.window_length} tokens: take below {room}",
            )

    @property
    def window_length(self) -> int:
        """Most tokens of a window."""
        return self.limit

    @property
    def stride(self) -> int:
        """Tokens that neighbouring windows share: a quarter of the window, at most 128."""
        own = min(128, self.window_length // 4)
        return own if self.options.stride is None else self.options.stride

    def read(self, row: Row) -> tuple[SubWords, NDArray[np.int16] | None]:
        """The row's sub-words and, for a boxed family, the boxes of its words."""
        words = read_words(row)
        return self.sub_words.words(words), read_boxes(row, len(words)) if self.boxed else None

    def lay(self, page: SubWords, boxes: NDArray[np.int16] | None, question: Ints | None = None) -> list[Window]:
        """The page in windows, each with the question where there is one."""
        return windows(
            page,
            self.sub_words.single if question is None else self.sub_words.pair,
            max_length=self.window_length,
            stride=self.stride,
            question=question,
            boxes=boxes,
            sep_id=self.tokenizer.sep_token_id,
        )

    def window_example(self, window: Window, more: Mapping[str, NDArray[np.generic]], *, pair: bool = False) -> Example:
        """A window as an example, with the arrays ``more`` that ``forward`` and ``decode`` use."""
        arrays: dict[str, NDArray[np.generic]] = {"input_ids": window.ids}
        if pair:
            arrays["token_type_ids"] = window.types
        if window.boxes is not None:
            arrays["bbox"] = window.boxes
        return Example(arrays={**arrays, **more}, length=len(window.ids))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors (B, L): input_ids, attention_mask, and where there are token_type_ids, labels, bbox (…, 4)."""
        values = {"input_ids": self.pad_id, "labels": IGNORED}
        there = [name for name in (*MODEL_INPUTS, "labels") if name in examples[0].arrays]
        padded = {name: pad_one([one.arrays[name] for one in examples], values.get(name, 0)) for name in there}
        return {**padded, "attention_mask": attention_mask(examples)}


def words_or_text(row: Row, sub_words: SubWordTokenizer) -> tuple[SubWords, list[str], list[tuple[int, int]] | None]:
    """Sub-words and words of a row that has ``words`` or only ``text``; of a text, the words' characters too.

    Words of a text are those that the tokenizer sees.
    """
    if row.get("words") is not None:
        words = read_words(row)
        return sub_words.words(words), words, None
    if row.get("text") is None:
        raise RowError(Code.ENCODE_FAILED, "the row has neither words nor text")
    text = text_of(row)
    page = sub_words.text(text)
    spans = list(zip(page.chars[page.firsts(), 0].tolist(), page.chars[page.ends() - 1, 1].tolist(), strict=True))
    return page, [text[start:end] for start, end in spans], spans
