"""Training rows: words, boxes and labels of laid-out pages, disturbed as reading a scan would disturb them.

Nothing is drawn or read, so a page costs two milliseconds. What a reader changes is imitated: pages lie crooked, boxes
are a little off, lines come across the page or column by column, and some letters are read wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from jobs.invoices.sheet import Sheet, Word

_CONFUSED = {
    "0": "O",
    "O": "0",
    "1": "l",
    "l": "1",
    "5": "S",
    "S": "5",
    "8": "B",
    "B": "8",
    "i": "l",
    "e": "c",
    "I": "l",
}
_MISREAD = 0.004
"""Share of letters that are read wrongly."""
_LOST = 0.005
"""Share of words that are not read at all."""
_SPECKS = 0.01
"""Share of words with something beside them that is read and is no word."""


@dataclass(frozen=True, kw_only=True)
class LabelledPage:
    """The columns of one training row."""

    words: list[str]
    boxes: list[list[int]]
    """0–1000 of the page, origin top left."""
    labels: list[str]


def labelled(sheet: Sheet) -> LabelledPage:
    """The page as it was laid out, in the order of drawing."""
    return _to_page(sheet, sheet.words())


def disturbed(sheet: Sheet, rng: Random) -> LabelledPage:
    """The page as a reader might give it back."""
    words = sheet.words()
    if rng.random() < 0.6:
        words = _across(words)
    if rng.random() < 0.7:
        words = _turned(words, math.radians(rng.uniform(-2.2, 2.2)), sheet.width / 2, sheet.height / 2)
    if rng.random() < 0.8:
        words = _moved(sheet, words, rng)
    loose = rng.random() < 0.3
    words = [_misread(_shaken(word, rng, loose), rng) for word in words if rng.random() > _LOST]
    return _to_page(sheet, [seen for word in words for seen in (*_speck(word, rng), word)])


def _across(words: Sequence[Word]) -> list[Word]:
    """Line by line over the whole width, top to bottom."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.box[1]):
        if rows and word.box[1] - rows[-1][0].box[1] < 0.5 * (word.box[3] - word.box[1]):
            rows[-1].append(word)
        else:
            rows.append([word])
    return [word for row in rows for word in sorted(row, key=lambda word: word.box[0])]


def _turned(words: Sequence[Word], angle: float, x: float, y: float) -> list[Word]:
    """Every box carried along as the page turns about a point; its height grows by what its width climbs."""
    turned = []
    for word in words:
        x0, y0, x1, y1 = word.box
        middle, level = (x0 + x1) / 2 - x, (y0 + y1) / 2 - y
        across = x + middle * math.cos(angle) - level * math.sin(angle)
        down = y + middle * math.sin(angle) + level * math.cos(angle)
        half_width, half_height = (x1 - x0) / 2, (y1 - y0) / 2 + (x1 - x0) / 2 * abs(math.sin(angle))
        box = (across - half_width, down - half_height, across + half_width, down + half_height)
        turned.append(Word(text=word.text, label=word.label, box=box, line=word.line))
    return turned


def _moved(sheet: Sheet, words: Sequence[Word], rng: Random) -> list[Word]:
    """What stands on the page stretched over any part of the sheet: where a thing stands says little by itself."""
    sides = list(zip(*(word.box for word in words), strict=True))
    left, top, right, bottom = min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])
    wide, high = rng.uniform(0.55, 0.96) * sheet.width, rng.uniform(0.4, 0.96) * sheet.height
    across, down = wide / (right - left), high / (bottom - top)
    x, y = rng.uniform(0, sheet.width - wide), rng.uniform(0, sheet.height - high)
    moved = []
    for word in words:
        x0, y0, x1, y1 = word.box
        box = (x + (x0 - left) * across, y + (y0 - top) * down, x + (x1 - left) * across, y + (y1 - top) * down)
        moved.append(Word(text=word.text, label=word.label, box=box, line=word.line))
    return moved


def _shaken(word: Word, rng: Random, loose: bool) -> Word:
    """The box off by up to a point; ``loose`` also gives it the height of the font, as text layers do."""
    x0, y0, x1, y1 = (side + rng.uniform(-1, 1) for side in word.box)
    slack = 0.15 * (y1 - y0) if loose else 0.0
    return Word(text=word.text, label=word.label, box=(x0, y0 - slack, x1, y1 + slack), line=word.line)


def _speck(word: Word, rng: Random) -> list[Word]:
    """At times a stroke or speck left of the word that reads as a character; between an entity's words it is none."""
    if rng.random() > _SPECKS or word.label.startswith("I-"):
        return []
    x0, y0, _, y1 = word.box
    return [Word(text=rng.choice("|-_.'~—=:i"), label="O", box=(x0 - 6, y0, x0 - 3, y1), line=word.line)]


def _misread(word: Word, rng: Random) -> Word:
    text = "".join(_CONFUSED.get(letter, letter) if rng.random() < _MISREAD else letter for letter in word.text)
    return Word(text=text, label=word.label, box=word.box, line=word.line)


def _to_page(sheet: Sheet, words: Sequence[Word]) -> LabelledPage:
    def scaled(value: float, whole: float) -> int:
        return min(1000, max(0, int(1000 * value / whole)))

    boxes = []
    for word in words:
        x0, y0, x1, y1 = word.box
        left, top = scaled(x0, sheet.width), scaled(y0, sheet.height)
        boxes.append([left, top, max(left, scaled(x1, sheet.width)), max(top, scaled(y1, sheet.height))])
    return LabelledPage(words=[w.text for w in words], boxes=boxes, labels=[w.label for w in words])
