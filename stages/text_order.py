"""Puts words together and in order as a person reads them, where the order of the content does not."""

from __future__ import annotations

import numpy as np

from stages.pages import Size
from stages.words import Boxes, Words

_NEAR = 200
"""Longest gap between a label and its field, in 1/1000 of the page."""
_TOUCH = 5
"""Boxes that overlap by no more than this still stand beside each other."""
_MOST = 2_000
"""Fields' words that are placed one by one; more than that is no form."""

_LETTER_GAP, _SHIFT = 0.3, 0.25
"""Widest gap and baseline shift between letters of a word, in heights of the letters; spaces are wider."""


def rejoined(words: Words, size: Size, first: int) -> tuple[Words, int]:
    """Words without the line breaks that stand between letters side by side, and the new index of word ``first``.

    Drawings place letters one by one; "0", ".", "5" in three lines are one number. Only parts that were put into
    different lines are joined, so a narrow space stays one.
    """
    if len(words.words) < 2:
        return words, first
    x0, y0, x1, y1 = words.boxes.T * np.array([[size.width], [size.height], [size.width], [size.height]]) / 1000
    height = np.maximum(y1 - y0, np.roll(y1 - y0, -1))[:-1]
    side_by_side = np.abs(x0[1:] - x1[:-1]) < _LETTER_GAP * height
    same_row = np.abs(y1[1:] - y1[:-1]) < _SHIFT * height
    joins = side_by_side & same_row & (np.diff(words.lines) > 0)
    if 0 < first < len(words.words):
        joins[first - 1] = False
    if not joins.any():
        return words, first
    starts = np.flatnonzero(np.concatenate([[True], ~joins]))
    ends = [*starts[1:].tolist(), len(words.words)]
    boxes = np.hstack(
        [np.minimum.reduceat(words.boxes[:, :2], starts), np.maximum.reduceat(words.boxes[:, 2:], starts)],
    )
    text = ["".join(words.words[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)]
    return Words(words=text, boxes=boxes, lines=words.lines[starts]), int(np.searchsorted(starts, first))


def interleaved(words: Words, first: int) -> Words:
    """``words`` in reading order, where those from index ``first`` on belong to fields and annotations.

    Each of them comes behind the nearest word to its left in its row, in that word's line; without one, in a line of
    its own below the nearest word above; without that, first of all.
    """
    count = len(words.words)
    if first >= count or first == 0 or count - first > _MOST:
        return words
    cuts = np.flatnonzero(np.diff(words.lines[:first])) + 1
    lines = [part.tolist() for part in np.split(np.arange(first), cuts)]
    for index in range(first, count):
        _place(lines, words.boxes, index)
    order = [index for line in lines for index in line]
    numbers = np.repeat(np.arange(len(lines), dtype=np.int32), [len(line) for line in lines])
    return Words(words=[words.words[i] for i in order], boxes=words.boxes[order], lines=numbers)


def _place(lines: list[list[int]], boxes: Boxes, index: int) -> None:
    """Puts the word ``index`` into ``lines``, which hold all words before it."""
    left = _left_of(boxes[: index + 1])
    if left is not None:
        line = next(line for line in lines if left in line)
        line.insert(line.index(left) + 1, index)
        return
    above = _above(boxes[: index + 1])
    at = 0 if above is None else next(n for n, line in enumerate(lines) if above in line) + 1
    lines.insert(at, [index])


def _left_of(boxes: Boxes) -> int | None:
    """Of all boxes but the last: the nearest one to the left of the last, in its row."""
    x0, y0, x1, y1 = boxes.astype(np.int32).T
    overlap = np.minimum(y1[:-1], y1[-1]) - np.maximum(y0[:-1], y0[-1])
    same_row = 2 * overlap > np.minimum(y1[:-1] - y0[:-1], y1[-1] - y0[-1])
    gap = x0[-1] - x1[:-1]
    near = np.flatnonzero(same_row & (gap >= -_TOUCH) & (gap <= _NEAR))
    return int(near[gap[near].argmin()]) if near.size else None


def _above(boxes: Boxes) -> int | None:
    """Of all boxes but the last: the one above the last whose foot is nearest, the later one where several are."""
    _, y0, _, y1 = boxes.astype(np.int32).T
    over = np.flatnonzero(y1[:-1] <= y0[-1] + _TOUCH)
    return int(over[::-1][y1[over[::-1]].argmax()]) if over.size else None
