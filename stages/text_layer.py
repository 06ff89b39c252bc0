"""A page's text layer, and whether it is good enough to be taken instead of OCR.

``Layer`` is what an engine finds (stages/text_pdfium.py, stages/pages_poppler.py); ``is_good`` decides for ``--text
auto`` by measured evidence, never by who made the file:

* no characters: good only where the page shows nothing at all;
* unmapped glyphs (U+FFFD, private use, control characters) above ``MAX_UNMAPPED``: the font's mapping is broken;
* images over ``MANY_IMAGES`` of the page, invisible text, or many drawn shapes beside few characters: the layer may
  be a scanner's own OCR, or only a stamp, a header or typed fields over a scan. Then, and only then, the page is
  drawn small and the share of its ink that the words cover is measured; good from ``MIN_COVERED``;
* invisible text must also consist of letters and digits, as another program's OCR gone wrong does not, and lie on
  ink at all.

What it does not know: text hidden under an opaque image or in the colour of the paper counts as text; a font that maps
glyphs to wrong but ordinary letters looks good.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stages.pages import Size
from stages.words import Boxes, Words

MAX_UNMAPPED = 0.1
MANY_IMAGES = 0.3
MANY_DRAWINGS = 150
"""Drawn shapes; letters turned into outlines are one shape each."""
FEW_CHARACTERS = 400
MIN_COVERED = 0.5
MIN_ALPHANUMERIC = 0.6
INK_DPI = 72
"""Resolution at which a page is drawn to measure its ink."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was counted on a page."""

    characters: int
    """Characters other than white space."""
    unmapped: float
    """Share of them that no one can read: U+FFFD, private use, control, or marked so by the engine."""
    alphanumeric: float
    """Share of them that are letters, digits or signs of scripts without case."""
    invisible: float
    """Share of sampled characters that are drawn invisibly."""
    images: float | None
    """Share of the page under images, at most 1; None where the engine does not say."""
    drawings: int
    """Drawn shapes, shadings included."""


NO_EVIDENCE = Evidence(characters=0, unmapped=0, alphanumeric=0, invisible=0, images=1.0, drawings=0)
"""Of an image: nothing but pixels."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The text layer of one page."""

    words: Words
    size: Size
    evidence: Evidence
    engine: str
    ink: Callable[[], NDArray[np.uint8]] | None = field(default=None, compare=False)
    """Draws the page small: grey (height, width), 255 is paper. None where there is nothing to look at."""

    @classmethod
    def none(cls, size: Size, engine: str) -> Layer:
        """Of a page that has no text layer."""
        return cls(words=Words.none(), size=size, evidence=NO_EVIDENCE, engine=engine)


def is_good(layer: Layer) -> bool:
    """Whether the layer's words are what a person sees on the page; see the module's docstring."""
    seen = layer.evidence
    if seen.characters == 0:
        return seen.images == 0 and seen.drawings == 0
    if seen.unmapped > MAX_UNMAPPED:
        return False
    hidden = seen.invisible > 0.5
    if hidden and seen.alphanumeric < MIN_ALPHANUMERIC:
        return False
    outlines = seen.drawings >= MANY_DRAWINGS and seen.characters < FEW_CHARACTERS
    if seen.images is not None and seen.images < MANY_IMAGES and not hidden and not outlines:
        return True
    if layer.ink is None:
        return not hidden
    covered = covered_ink(layer.ink(), layer.words.boxes)
    return not hidden if covered is None else covered >= MIN_COVERED


CELL_HEIGHT, CELL_WIDTH = 8, 16
"""Pixels of a cell at INK_DPI: about a line high and three letters wide."""
_EDGE = 40
"""Step in grey between neighbouring pixels that counts as the edge of a stroke."""
_EDGES, _EDGE_COLUMNS = 10, 5
"""Edges, and columns with edges, from which a cell looks like writing. A rule across has no edges, one down two
columns of them."""


def covered_ink(grey: NDArray[np.uint8], boxes: Boxes) -> float | None:
    """The share of what looks like writing on the page that lies under words; None where nothing does.

    ``grey`` is (height, width). Cells of the page are counted in which brightness changes often from left to right, as
    it does in writing, not in rules, frames or smooth pictures.
    """
    height, width = grey.shape
    rows, columns = math.ceil(height / CELL_HEIGHT), math.ceil(width / CELL_WIDTH)
    edges = np.zeros((rows * CELL_HEIGHT, columns * CELL_WIDTH), bool)
    edges[:height, : width - 1] = np.abs(np.diff(grey.astype(np.int16), axis=1)) > _EDGE
    cells = edges.reshape(rows, CELL_HEIGHT, columns, CELL_WIDTH)
    writing = (cells.sum(axis=(1, 3)) >= _EDGES) & (cells.any(axis=1).sum(axis=2) >= _EDGE_COLUMNS)
    under = np.zeros((rows, columns), bool)
    scale = np.array([width / CELL_WIDTH, height / CELL_HEIGHT] * 2) / 1000
    for x0, y0, x1, y1 in np.floor(boxes * scale).astype(int).tolist():
        under[y0 : y1 + 1, x0 : x1 + 1] = True
    total = int(writing.sum())
    return float((writing & under).sum() / total) if total else None


LINE_BREAK = "\ufffe"
"""What pdfium puts for a hyphen at the end of a line that it joins with the next."""
_UNMAPPED = re.compile("[\0\ufffd\uffff\ue000-\uf8ff\U000f0000-\U0010fffd\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PRESENTATION = re.compile("[\ufb00-\ufdff\ufe70-\ufeff]+")
"""Letters as they look inside a word: ligatures, Hebrew with points, Arabic forms."""


def shown(word: str) -> str:
    """A word as it looks: its hyphen back, forms of letters as letters, what has no meaning as U+FFFD."""
    if word.isascii() and word.isprintable():
        return word
    word = word.replace(LINE_BREAK, "-")
    word = _PRESENTATION.sub(lambda match: unicodedata.normalize("NFKC", match[0]), word)
    return _UNMAPPED.sub("\ufffd", word)


def unmapped_share(characters: str) -> float:
    """The share of visible characters that have no meaning: U+FFFD, private use, control."""
    return len(_UNMAPPED.findall(characters)) / max(1, len("".join(characters.split())))
