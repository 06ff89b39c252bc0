"""Lines of text with boxes, as text detectors give them, to words with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.words import Boxes, normalised


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of text on a page."""

    text: str
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels, origin top left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PageWords:
    """The words of a page's lines."""

    words: list[str]
    boxes: Boxes
    """(n, 4), 0–1000 of the page."""
    line: list[int]
    """(n,) which line each word stands in."""


def words_of(lines: Sequence[Line], width: float, height: float) -> PageWords:
    """The lines' words in their order. A word's box is its part of the line's, by its share of the characters."""
    words: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines):
        x0, y0, x1, y1 = line.box
        per_character = (x1 - x0) / max(len(line.text), 1)
        at = 0
        for word in line.text.split():
            at = line.text.index(word, at)
            words.append(word)
            boxes.append((x0 + at * per_character, y0, x0 + (at + len(word)) * per_character, y1))
            numbers.append(number)
            at += len(word)
    corners = normalised(np.array(boxes, np.float64).reshape(-1, 4), width, height)
    return PageWords(words=words, boxes=corners, line=numbers)
