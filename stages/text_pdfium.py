"""Words, boxes and evidence out of pdfium's text page. Runs inside the sandbox only.

Words are runs between spaces; a Han character or kana is a word of its own, with the punctuation that closes it,
because its scripts have no spaces and models take each as one token. Lines and reading order are pdfium's: the order
of the content, right-to-left runs in logical order, ligatures taken apart. A word that is broken at a line's end is
two words, as seen. Words of form fields and annotations come behind their label; see stages/text_order.py.

Speed: one call for a page's characters and two a word for its box, through untyped prototypes (2.2 ms for a page of 600
words, of which pdfium itself 1.8; a call a character takes 8).
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pypdfium2 import raw

from stages.pages import Size
from stages.text_layer import LINE_BREAK as _BREAK
from stages.text_layer import Evidence, Layer, shown, unmapped_share
from stages.text_order import interleaved, rejoined
from stages.words import CJK, Words, as_seen

_SAMPLES = 64
"""Characters that are looked at for marks which cost a call each."""
_MOST_OBJECTS = 20_000
"""Page objects that are looked at, so that a huge drawing does not cost seconds."""

_CLOSING = (
    "\u3001-\u3003\u3009\u300b\u300d\u300f\u3011\u3015\u3017\u3019\u301b\u30fc"
    "\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f\uff3d\uff5d"
)
_WORD = re.compile(f"[{CJK}][{_CLOSING}]*|[^\\s\0{_BREAK}{CJK}]+{_BREAK}?|{_BREAK}")
_SQUARE = re.compile(f"[{CJK}]")
_LINE_END = re.compile(f"[\r\n]|{_BREAK}")

_count_rects = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)(
    ctypes.cast(raw.FPDFText_CountRects, ctypes.c_void_p).value or 0,
)
_get_rect = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 4)(
    ctypes.cast(raw.FPDFText_GetRect, ctypes.c_void_p).value or 0,
)


def count_characters(page: raw.FPDF_PAGE) -> int:
    """Characters on the page's text page."""
    text = raw.FPDFText_LoadPage(page)
    try:
        return max(0, int(raw.FPDFText_CountChars(text)))
    finally:
        raw.FPDFText_ClosePage(text)


def visible_rectangle(page: raw.FPDF_PAGE) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of what is seen of the page, in PDF space."""
    box = raw.FS_RECTF()
    raw.FPDF_GetPageBoundingBox(page, box)
    return box.left, box.bottom, box.right, box.top


def read_layer(page: raw.FPDF_PAGE, size: Size, own_characters: int) -> Layer:
    """The text layer of a loaded page, without ``ink``.

    ``own_characters``: how many of its characters are the page's own rather than a flattened annotation's; -1 for all.
    """
    rectangle, rotation = visible_rectangle(page), raw.FPDFPage_GetRotation(page)
    text, characters = _upright_text(page, rotation)
    try:
        spans = [match.span() for match in _WORD.finditer(characters)]
        rects = _rects(text, characters, spans)
        evidence = _evidence(page, text, characters, rectangle)
    finally:
        raw.FPDFText_ClosePage(text)
        raw.FPDFPage_SetRotation(page, rotation)
    breaks = [match.start() for match in _LINE_END.finditer(characters)]
    starts = np.fromiter((start for start, _ in spans), np.int64, len(spans))
    words = Words(
        words=[shown(characters[a:b]) for a, b in spans],
        boxes=as_seen(np.nan_to_num(rects), rectangle, 90 * rotation),
        lines=np.searchsorted(breaks, starts, side="left").astype(np.int32),
    )
    first = len(spans) if own_characters < 0 else int(np.searchsorted(starts, own_characters))
    seen = _on_page(rects, rectangle)
    words, first = rejoined(words.take(np.flatnonzero(seen)), size, int(seen[:first].sum()))
    return Layer(words=interleaved(words, first), size=size, evidence=evidence, engine="pdfium")


def _upright_text(page: raw.FPDF_PAGE, rotation: int) -> tuple[raw.FPDF_TEXTPAGE, str]:
    """The page's text page and its characters, in the order in which lines read that run to the side or on their head.

    pdfium orders lines as they stand on the turned page, so the page is turned until most of its text is upright.
    """
    text = raw.FPDFText_LoadPage(page)
    characters = _characters(text)
    places = [match.start() for match in re.finditer(r"\S", characters)]
    angles = [raw.FPDFText_GetCharAngle(text, index) for index in places[:: max(1, len(places) // 16)]]
    turns = [round(-angle / (math.pi / 2)) % 4 for angle in angles if angle >= 0]
    upright = max(set(turns), key=turns.count) if turns else rotation
    if upright == rotation:
        return text, characters
    raw.FPDFText_ClosePage(text)
    raw.FPDFPage_SetRotation(page, upright)
    text = raw.FPDFText_LoadPage(page)
    return text, _characters(text)


def _characters(text: raw.FPDF_TEXTPAGE) -> str:
    """The text page's characters, one for each of its indices; NUL for a glyph without any meaning."""
    count = max(0, raw.FPDFText_CountChars(text))
    buffer = ctypes.create_string_buffer(2 * count + 2)
    units = raw.FPDFText_GetText(text, 0, count, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)))
    whole = buffer.raw[: 2 * max(0, units - 1)].decode("utf-16-le", "replace")
    if len(whole) == count:
        return whole
    # Characters outside the basic plane, or glyphs that the text leaves out: one call each keeps the indices right.
    codes = (raw.FPDFText_GetUnicode(text, index) for index in range(count))
    return "".join(chr(code) if code < 0x11_0000 and not 0xD800 <= code < 0xE000 else "\ufffd" for code in codes)


def _rects(text: raw.FPDF_TEXTPAGE, characters: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """(n, 4) left, bottom, right, top of each span in PDF space; NaN for what has no extent.

    Around the ink, as OCR would see it, but for Han characters and kana, which fill a square of their own.
    """
    # pdfium writes left, top, right, bottom; the fields' addresses are computed, not made into objects.
    rects = np.full((len(spans), 4), np.nan)
    address, page = rects.ctypes.data, ctypes.cast(text, ctypes.c_void_p).value
    square = set() if characters.isascii() else {match.start() for match in _SQUARE.finditer(characters)}
    for index, (start, end) in enumerate(spans):
        count = 0 if start in square else _count_rects(page, start, end - start)
        at = address + 32 * index
        if count == 1:
            _get_rect(page, 0, at, at + 24, at + 16, at + 8)
        elif count > 1:
            rects[index] = _union(page, count)
        else:
            rects[index] = _loose(text, start, end)
    return rects


def _union(page: int | None, count: int) -> NDArray[np.float64]:
    """The rectangle around all rectangles of the last count: a word in several pieces."""
    parts = np.empty((count, 4))
    address = parts.ctypes.data
    for index, at in enumerate(range(address, address + 32 * count, 32)):
        _get_rect(page, index, at, at + 24, at + 16, at + 8)
    return np.concatenate([parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)])


def _loose(text: raw.FPDF_TEXTPAGE, start: int, end: int) -> NDArray[np.float64]:
    """The rectangle of glyphs by font size and advance rather than outline, which Type 3 fonts do not have."""
    parts = []
    for index in range(start, end):
        box = raw.FS_RECTF()
        if raw.FPDFText_GetLooseCharBox(text, index, box) and box.right > box.left and box.top > box.bottom:
            parts.append((box.left, box.bottom, box.right, box.top))
    if not parts:
        return np.full(4, np.nan)
    corners = np.array(parts)
    return np.concatenate([corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)])


def _on_page(rects: NDArray[np.float64], rectangle: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """(n,) whether a person sees it: its middle lies within what the page shows."""
    left, bottom, right, top = rectangle
    x, y = (rects[:, 0] + rects[:, 2]) / 2, (rects[:, 1] + rects[:, 3]) / 2
    seen: NDArray[np.bool_] = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
    return seen


def _evidence(
    page: raw.FPDF_PAGE, text: raw.FPDF_TEXTPAGE, characters: str, rectangle: tuple[float, float, float, float]
) -> Evidence:
    places = [match.start() for match in re.finditer(r"\S", characters)]
    count = len(places)
    sample = places[:: max(1, count // _SAMPLES)]
    invisible = unmapped = 0
    for index in sample:
        drawn = raw.FPDFText_GetTextObject(text, index)
        invisible += bool(drawn) and raw.FPDFTextObj_GetTextRenderMode(drawn) == raw.FPDF_TEXTRENDERMODE_INVISIBLE
        unmapped += raw.FPDFText_HasUnicodeMapError(text, index) == 1
    images, drawings = _objects(page, rectangle)
    return Evidence(
        characters=count,
        unmapped=max(unmapped_share(characters), unmapped / max(1, len(sample))),
        alphanumeric=sum(characters[i].isalnum() for i in sample) / max(1, len(sample)),
        invisible=invisible / max(1, len(sample)),
        images=images,
        drawings=drawings,
    )


def _objects(page: raw.FPDF_PAGE, rectangle: tuple[float, float, float, float]) -> tuple[float, int]:
    """The share of the page under images, and how many shapes are drawn."""
    left, bottom, right, top = rectangle
    covered, drawings = 0.0, 0
    for index in range(min(_MOST_OBJECTS, raw.FPDFPage_CountObjects(page))):
        item = raw.FPDFPage_GetObject(page, index)
        kind = raw.FPDFPageObj_GetType(item)
        shapes, image = _inside(item, 0) if kind == raw.FPDF_PAGEOBJ_FORM else (int(kind in _SHAPES), kind == _IMAGE)
        drawings += shapes
        if image:
            x0, y0, x1, y1 = (ctypes.c_float() for _ in range(4))
            raw.FPDFPageObj_GetBounds(item, x0, y0, x1, y1)
            wide = max(0.0, min(right, x1.value) - max(left, x0.value))
            covered += wide * max(0.0, min(top, y1.value) - max(bottom, y0.value))
    area = (right - left) * (top - bottom)
    return (min(1.0, covered / area) if area > 0 else 0.0), drawings


_SHAPES = frozenset({raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING})
_IMAGE = raw.FPDF_PAGEOBJ_IMAGE


def _inside(form: raw.FPDF_PAGEOBJECT, depth: int) -> tuple[int, bool]:
    """Shapes in a form object, and whether it holds an image: its whole extent then counts as image, which at worst
    costs a look at the page's ink."""
    shapes, image = 0, False
    for index in range(min(_MOST_OBJECTS, raw.FPDFFormObj_CountObjects(form))):
        item = raw.FPDFFormObj_GetObject(form, index)
        kind = raw.FPDFPageObj_GetType(item)
        if kind == raw.FPDF_PAGEOBJ_FORM and depth < 4:
            more, inner = _inside(item, depth + 1)
            shapes, image = shapes + more, image or inner
        shapes += kind in _SHAPES
        image |= kind == _IMAGE
    return shapes, image
