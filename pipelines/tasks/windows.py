"""Sub-words to windows that a model takes, and windows back to words.

``cut`` lays windows of at most ``room`` sub-words over a page, neighbours sharing ``stride`` of them, where the
tokenizers library's own truncation with overflow would. ``owned`` says which window answers for a sub-word: the one
in which it has most context on its poorer side; so what two windows share is split in the middle, every sub-word is
answered for exactly once, and a page that fits has one window.

L tokens of a window (special ones and the question included).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.words import FAR, Boxes, Frame, Ints, SubWords
from stages.errors import Code, RowError


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """What the model is given at once: special tokens, a question where there is one, and part of the page."""

    ids: Ints
    """(L,)"""
    types: NDArray[np.int8]
    """(L,) token types: 0, or 1 for the page after a question where the checkpoint tells them apart."""
    boxes: Boxes | None
    """(L, 4) where words have boxes."""
    first: int
    """Position in ``ids`` of the window's first sub-word of the page."""
    start: int
    """The window holds sub-words ``start`` to ``end`` (exclusive) of the page."""
    end: int
    own: tuple[int, int]
    """Of these, the sub-words (first, one after the last) that it answers for."""


def cut(total: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Windows (start, end) over ``total`` sub-words, each of at most ``room``, neighbours sharing ``stride``.

    Always at least one, empty where ``total`` is 0. Raises ValueError unless 0 <= stride < room.
    """
    if not 0 <= stride < room:
        raise ValueError(f"stride must be at least 0 and below the room of {room}, not {stride}")
    step, last = room - stride, max(total - room, 0)
    return [(start, min(start + room, total)) for start in range(0, last + step, step)]


def owned(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """For each window the sub-words (start, end) that it answers for."""
    middles = [(after[0] + one[1] + 1) // 2 for one, after in pairwise(spans)]
    return list(zip([spans[0][0], *middles], [*middles, spans[-1][1]], strict=True))


def windows(
    page: SubWords,
    frame: Frame,
    *,
    max_length: int,
    stride: int,
    question: Ints | None = None,
    boxes: Boxes | None = None,
    sep_id: int | None = None,
) -> list[Window]:
    """``page`` in windows of at most ``max_length`` tokens, special ones and ``question`` included.

    ``boxes`` is (words, 4); tokens around the page have the box 0, 0, 0, 0, ``sep_id`` the far corner, as LayoutLM was
    trained. ``frame`` is the tokenizer's pair frame where there is a question, else its single one. Raises
    RowError(ENCODE_FAILED) where a question leaves no room.
    """
    room = max_length - frame.size - (0 if question is None else len(question))
    if room <= stride:
        raise RowError(
            Code.ENCODE_FAILED,
            f"{max_length - room} tokens of question and frame leave {max(room, 0)} of {max_length} for the page, and "
            f"neighbouring windows share {stride}: ask less, or lower task.stride",
        )
    before = [frame.parts[0]] if question is None else [frame.parts[0], question, frame.parts[1]]
    lead, tail = np.concatenate(before), frame.parts[-1]
    lead_boxes, tail_boxes = _frame_boxes(lead, sep_id), _frame_boxes(tail, sep_id)
    page_boxes = None if boxes is None else boxes[page.word]
    spans = cut(len(page.ids), room, stride)
    return [
        Window(
            ids=np.concatenate([lead, page.ids[start:end], tail]),
            types=np.repeat(np.array(frame.types, np.int8), [*map(len, before), end - start, len(tail)]),
            boxes=None if page_boxes is None else np.concatenate([lead_boxes, page_boxes[start:end], tail_boxes]),
            first=len(lead),
            start=start,
            end=end,
            own=own,
        )
        for (start, end), own in zip(spans, owned(spans), strict=True)
    ]


def _frame_boxes(ids: Ints, sep_id: int | None) -> Boxes:
    return np.repeat(np.where(ids == sep_id, FAR, 0).astype(np.int16)[:, None], 4, axis=1)
