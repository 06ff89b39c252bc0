"""A page being laid out: lines of text at places, each stretch labelled or not, and the words that come of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Anchor = Literal["left", "centre", "right"]

# Of the 14 fonts that every PDF reader has: (regular, bold). No font file is needed, and metrics are the same anywhere.
TYPEFACES = (
    ("Helvetica", "Helvetica-Bold"),
    ("Times-Roman", "Times-Bold"),
    ("Courier", "Courier-Bold"),
)

ASCENT, DESCENT = 0.72, 0.21
"""Height of capitals above the baseline and depth of ``g`` below it, in parts of the font size."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a line."""

    text: str
    label: str = ""
    """The entity's label; empty where it is none."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of text on the page. Points, origin top left."""

    x: float
    """Left edge, whatever the anchor was."""
    y: float
    """Baseline."""
    spans: tuple[Span, ...]
    font: str
    size: float

    @property
    def text(self) -> str:
        """The spans, joined by spaces."""
        return " ".join(span.text for span in self.spans)


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word as a reader sees it."""

    text: str
    label: str
    """``B-…`` or ``I-…`` of the entity it belongs to, or ``O``."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in points, origin top left."""
    line: int
    """Ordinal of the line that holds it, in the order of drawing."""


@dataclass(kw_only=True)
class Sheet:
    """A page in the making: ``text`` adds a line, ``rule`` a stroke."""

    width: float
    height: float
    regular: str
    bold: str
    size: float
    """Font size of plain text, in points."""
    lines: list[Line] = field(default_factory=list)
    rules: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Strokes from x0, y0 to x1, y1."""

    def text(
        self, x: float, y: float, *spans: Span | str, scale: float = 1.0, bold: bool = False, anchor: Anchor = "left"
    ) -> float:
        """Adds a line whose anchor stands at x and baseline at y; returns its width in points."""
        filled = tuple(span if isinstance(span, Span) else Span(text=span) for span in spans)
        filled = tuple(span for span in filled if span.text)
        if not filled:
            return 0.0
        font, size = self.bold if bold else self.regular, self.size * scale
        width = text_width(" ".join(span.text for span in filled), font, size)
        left = x - {"left": 0.0, "centre": width / 2, "right": width}[anchor]
        self.lines.append(Line(x=left, y=y, spans=filled, font=font, size=size))
        return width

    def block(self, x: float, y: float, lines: Sequence[Span | str], *, anchor: Anchor = "left") -> float:
        """Adds lines one below the other; returns the baseline after the last."""
        for line in lines:
            self.text(x, y, line, anchor=anchor)
            y += self.leading
        return y

    def rule(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Adds a stroke."""
        self.rules.append((x0, y0, x1, y1))

    def frame(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Adds four strokes around a place."""
        for stroke in ((x0, y0, x1, y0), (x0, y1, x1, y1), (x0, y0, x0, y1), (x1, y0, x1, y1)):
            self.rules.append(stroke)

    @property
    def leading(self) -> float:
        """Distance of baselines in points."""
        return self.size * 1.35

    def words(self) -> list[Word]:
        """The words of all lines, in the order of drawing."""
        return [word for ordinal, line in enumerate(self.lines) for word in _words(line, ordinal)]


def text_width(text: str, font: str, size: float) -> float:
    """Width of a text in points, from the font's published metrics."""
    return _width(text, font) * size


@lru_cache(maxsize=50_000)
def _width(text: str, font: str) -> float:
    """The width at a size of one point. There is no kerning: a text is as wide as its words and spaces together."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    return float(stringWidth(text, font, 1.0))


def _words(line: Line, ordinal: int) -> list[Word]:
    top, left, words = line.y - ASCENT * line.size, line.x, []
    space = text_width(" ", line.font, line.size)
    for span in line.spans:
        for at, text in enumerate(span.text.split(" ")):
            right = left + text_width(text, line.font, line.size)
            deep = any(letter in "gjpqy,;()/Q$" for letter in text)
            bottom = line.y + (DESCENT * line.size if deep else 0.0)
            label = f"{'I' if at else 'B'}-{span.label}" if span.label else "O"
            words.append(Word(text=text, label=label, box=(left, top, right, bottom), line=ordinal))
            left = right + space
    return words
