"""Words with boxes on one page: the one coordinate convention, made and checked here.

A box is x0, y0, x1, y1 with the origin top left, integers 0–1000 of the page as a person sees it (after rotation and
cropping): ``int(1000 * (x / width))``, clamped. That is what LayoutLM's processors compute, to the last bit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.errors import Code, RowError

Boxes = NDArray[np.int16]
"""(n, 4), 0–1000 of the page."""

MAX_WORDS = 200_000
"""Most words that are believed of one page; the densest printed pages have some thousands."""
MAX_TEXT = 8_000_000
"""Most characters that are believed of one page."""

CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
"""Han characters and kana, as the inside of a regular expression's class: scripts written without spaces.

Hangul is not among them, because Korean puts spaces between words.
"""
_UNSPACED = f"[{CJK}\u3001-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff1f]"
_GLUED = re.compile(f"(?<={_UNSPACED}) (?={_UNSPACED})")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What reading a page gives: words in reading order, where they stand, and their lines."""

    words: list[str]
    boxes: Boxes
    """(n, 4), one a word."""
    lines: NDArray[np.int32]
    """(n,) the line that each word stands in, from 0, never falling."""

    @property
    def text(self) -> str:
        """Lines joined by newlines, words by spaces; no space between characters of scripts that have none."""
        if not self.words:
            return ""
        ends = np.flatnonzero(np.diff(self.lines)) + 1
        cuts = [0, *ends.tolist(), len(self.words)]
        text = "\n".join(" ".join(self.words[a:b]) for a, b in pairwise(cuts))
        return text if text.isascii() else _GLUED.sub("", text)

    @classmethod
    def none(cls) -> Words:
        """A page without words."""
        return cls(words=[], boxes=np.empty((0, 4), np.int16), lines=np.empty(0, np.int32))

    def take(self, order: Sequence[int] | NDArray[np.integer]) -> Words:
        """These words, by index; the lines must be in order afterwards."""
        order = np.asarray(order, np.int64)
        words = [self.words[i] for i in order]
        return Words(words=words, boxes=self.boxes[order], lines=self.lines[order])


def normalised(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """Boxes (n, 4) in the unit of ``width`` and ``height``, origin top left → 0–1000, clamped to the page.

    Corners given in the wrong order are exchanged. ``width`` and ``height`` must be above 0.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4) / (width, height, width, height)
    # Clamp before the cast, because a cast of what int16 cannot hold is undefined.
    corners = np.clip(np.nan_to_num(1000 * corners, nan=0.0), 0, 1000).astype(np.int16)
    low = np.minimum(corners[:, :2], corners[:, 2:])
    high = np.maximum(corners[:, :2], corners[:, 2:])
    return np.concatenate([low, high], axis=1)


def as_seen(boxes: ArrayLike, page: tuple[float, float, float, float], rotation: int) -> Boxes:
    """Boxes (n, 4) in PDF space → 0–1000 of the page as seen.

    ``boxes`` are left, bottom, right, top with the origin bottom left; ``page`` is the visible rectangle in the same
    space and order; ``rotation`` is the page's /Rotate, degrees clockwise, a multiple of 90.
    """
    left, bottom, right, top = page
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    match rotation % 360:
        case 0:
            corners, wide = (x0 - left, top - y1, x1 - left, top - y0), True
        case 90:
            corners, wide = (y0 - bottom, x0 - left, y1 - bottom, x1 - left), False
        case 180:
            corners, wide = (right - x1, y0 - bottom, right - x0, y1 - bottom), True
        case _:
            corners, wide = (top - y1, right - x1, top - y0, right - x0), False
    width, height = right - left, top - bottom
    return normalised(np.stack(corners, axis=1), *((width, height) if wide else (height, width)))


def checked(words: object, boxes: object, lines: object) -> Words:
    """The words that an untrusted reader answered. Raises RowError(CRASH) for what no healthy reader says."""
    if not isinstance(words, list) or not isinstance(boxes, np.ndarray) or not isinstance(lines, np.ndarray):
        raise _nonsense("words without boxes")
    if boxes.dtype != np.int16 or boxes.shape != (len(words), 4):
        raise _nonsense(f"{len(words)} words with boxes of shape {boxes.shape}")
    if lines.dtype != np.int32 or lines.shape != (len(words),):
        raise _nonsense(f"{len(words)} words with lines of shape {lines.shape}")
    if not all(type(word) is str for word in words):
        raise _nonsense("words that are not text")
    if len(words) > MAX_WORDS or sum(map(len, words)) > MAX_TEXT:
        raise _nonsense(f"{len(words)} words on one page")
    if words and not (
        boxes.min() >= 0
        and boxes.max() <= 1000
        and (boxes[:, :2] <= boxes[:, 2:]).all()
        and (np.diff(lines) >= 0).all()
    ):
        raise _nonsense("boxes outside the page, or lines out of order")
    return Words(words=words, boxes=boxes, lines=lines)


def _nonsense(what: str) -> RowError:
    return RowError(Code.CRASH, f"the reader answered nonsense: {what}")
