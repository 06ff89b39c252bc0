"""Reads documents and pages through the sandbox: which engine, which way, what when one fails. Knows nothing of Ray.

Batch (``stages.plan``, ``stages.read``) and Serve call the same functions, ``count_pages`` and ``read_page``;
``draw_page`` gives the pixels alone, of a page that was read before or whose words a table has; ``see_page`` gives a
page or an image as a model for images looks at it.

    text layer good (``--text auto``), or asked for            → its words
    otherwise                                                  → rendered and OCR'd
    an engine refuses, crashes or runs out of memory           → the other engine once, in a fresh child where need be
    it takes too long (render_timeout, ocr_timeout)            → the page fails, within its limit
    both engines fail                                          → the first one's error; a password asked for wins

What the child answers is checked here before anything else sees it (``stages.words.checked``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from stages.errors import Code, RowError
from stages.sandbox import Sandbox, SandboxLimits, Value
from stages.settings import Settings
from stages.view import View
from stages.words import Words, checked

READER = "stages.reader_child:open_reader"
THUMBNAIL_DPI = 100
"""Resolution from which a text-layer page's thumbnail is made; where a page is OCR'd, OCR's own picture serves."""

_OTHER = {"pdfium": "poppler", "poppler": "pdfium", "tesserocr": "pytesseract", "pytesseract": "tesserocr"}
_TRY_OTHER = frozenset({Code.CORRUPT, Code.PASSWORD_REQUIRED, Code.EMPTY, Code.CRASH, Code.OUT_OF_MEMORY})
_TOTAL = 4
"""Times the limit without progress that one call may take in all; the child's word on progress is not trusted."""
_READERS = frozenset({"pdfium", "poppler", "pillow", "tesserocr", "pytesseract"})
_MOST_PAGES = 10_000_000

_T = TypeVar("_T")

Pixels = NDArray[np.uint8]
"""A page as a model looks at it: (height, width, 3), RGB."""


@dataclass(frozen=True, kw_only=True)
class PageRead:
    """What is on one page."""

    width: float
    """As seen: points, or pixels for images. Of a scan that was turned: upright, as its boxes are."""
    height: float
    words: Words
    reader: str
    """``layer:pdfium``, ``ocr:tesserocr``; ``ocr:tesserocr@90`` where the page was turned 90° clockwise to be read."""
    pixels: Pixels | None = None
    """The page in the size that was asked for, upright."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image, or a page drawn, as a model looks at it."""

    pixels: Pixels
    height: int
    """Of the image itself, upright, in pixels; of a PDF's page, as drawn at ``render.dpi``."""
    width: int


def open_sandbox(settings: Settings, *, target: str = READER, limits: SandboxLimits | None = None) -> Sandbox:
    """The child that reads with these settings; nothing is started before the first call."""
    return Sandbox(target, limits=limits, settings={"lang": settings.ocr.lang, "psm": settings.ocr.psm})


def count_pages(sandbox: Sandbox, path: str, settings: Settings) -> int:
    """The document's number of pages. Raises RowError: EMPTY, CORRUPT, PASSWORD_REQUIRED, TOO_LARGE and more."""
    job = _Job(sandbox, path, settings)
    pages = job.either("render", lambda engine: job.ask("open", engine))["pages"]
    if type(pages) is not int or not 1 <= pages <= _MOST_PAGES:
        raise RowError(Code.CRASH, f"the reader answered nonsense: {pages!r} pages")
    if pages > settings.limits.pages:
        raise RowError(Code.TOO_LARGE, f"{pages} pages, limits.pages is {settings.limits.pages}")
    return pages


def read_page(
    sandbox: Sandbox, path: str, page: int, settings: Settings, *, pixels: tuple[int, int] | None = None
) -> PageRead:
    """The words of one page, counted from 1. ``pixels``: (height, width) in which to draw it beside.

    Raises RowError for a page that cannot be read; the next call works all the same.
    """
    job = _Job(sandbox, path, settings, page, pixels)
    if settings.text != "ocr":
        try:
            layer = job.either("render", job.layer)
        except RowError as error:
            if settings.text == "layer" or error.code not in _TRY_OTHER:
                raise
        else:
            if settings.text == "layer" or layer["good"] is True:
                thumbnail = job.either("render", job.picture(THUMBNAIL_DPI)) if pixels else {}
                return job.result("layer", layer, thumbnail)
    answer = job.ocr()
    return job.result("ocr", answer, answer)


def draw_page(
    sandbox: Sandbox, path: str, page: int, settings: Settings, *, pixels: tuple[int, int], reader: str = "layer"
) -> Pixels:
    """The pixels alone, as ``read_page`` gave or would give them for a page with that ``reader``. Raises RowError."""
    job = _Job(sandbox, path, settings, page, pixels)
    dpi = settings.render.dpi if reader.startswith("ocr") else THUMBNAIL_DPI
    turned = int(reader.partition("@")[2] or 0)
    return _pixels(job.either("render", job.picture(dpi, turned)).get("pixels"), pixels)


def see_page(sandbox: Sandbox, path: str, page: int, settings: Settings, *, view: View) -> Picture:
    """A page or an image as a model looks at it. Raises RowError."""
    job = _Job(sandbox, path, settings, page, view=view)
    answer = job.either("render", job.picture(settings.render.dpi))
    match answer.get("image"):
        case [int(height), int(width)] if min(height, width) > 0:
            pixels = _pixels(answer.get("seen"), view.shape(height, width))
            return Picture(pixels=pixels, height=height, width=width)
        case _:
            raise RowError(Code.CRASH, "the reader answered nonsense: no picture")


class _Job:
    """One page (or, for ``open``, one document) on its way through the engines."""

    def __init__(
        self,
        sandbox: Sandbox,
        path: str,
        settings: Settings,
        page: int = 0,
        pixels: tuple[int, int] | None = None,
        view: View | None = None,
    ) -> None:
        self._sandbox, self._path, self._settings, self._page = sandbox, path, settings, page
        self._pixels, self._view = pixels, view
        first = {"render": settings.render.engine, "ocr": settings.ocr.engine}
        self._engines = {kind: [name, _OTHER[name]] for kind, name in first.items()}
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            self._key = path  # the sandbox says what is wrong with it
        else:
            self._key = f"{path}\n{status.st_ino}\n{status.st_size}\n{status.st_mtime_ns}"

    def either(self, kind: str, attempt: Callable[[str], _T]) -> _T:
        """``attempt`` with the first engine of a kind, or else the other one; what failed is last from then on."""
        first, other = self._engines[kind]
        try:
            return attempt(first)
        except RowError as error:
            if error.code not in _TRY_OTHER:
                raise
            refused = error
        self._engines[kind] = [other, first]
        try:
            return attempt(other)
        except RowError as error:
            raise _worse(first, refused, other, error) from error

    def layer(self, engine: str) -> Mapping[str, Value]:
        """The text layer; where one is asked for and this engine finds no word, the other engine's."""
        found = self.ask("layer", engine)
        if found["words"] or self._settings.text != "layer" or found["good"] is True or found["engine"] == "pillow":
            return found
        try:
            other = self.ask("layer", _OTHER[engine])
        except RowError:
            return found  # it was only asked whether it sees more
        return other if other["words"] else found

    def picture(self, dpi: int, turned: int = 0) -> Callable[[str], Mapping[str, Value]]:
        """Draws the page, turned clockwise by so many degrees; the child keeps the picture as it was."""
        return lambda engine: self.ask("picture", engine, dpi=dpi, turned=turned)

    def ocr(self) -> Mapping[str, Value]:
        """Renders the page, then reads it."""
        dpi = self._settings.render.dpi
        self.either("render", lambda engine: self.ask("picture", engine, dpi=dpi, thumbnail=False))
        drawn_by = self._engines["render"][0]
        return self.either("ocr", lambda engine: self.ask("ocr", drawn_by, dpi=dpi, ocr_engine=engine))

    def ask(
        self, op: str, engine: str, *, dpi: int = 0, ocr_engine: str = "", thumbnail: bool = True, turned: int = 0
    ) -> Mapping[str, Value]:
        """One request to the child, with the file where it does not have it."""
        request: dict[str, Value] = {
            "op": op,
            "key": self._key,
            "engine": engine,
            "page": self._page,
            "dpi": dpi,
            "max_pixels": self._settings.render.max_pixels,
            "ocr_engine": ocr_engine,
            "pixels": list(self._pixels) if self._pixels and thumbnail else None,
            "turned": turned,
            "view": self._view.packed() if self._view else None,
        }
        code = Code.OCR_TIMEOUT if op == "ocr" else Code.RENDER_TIMEOUT
        limit = self._settings.ocr.timeout_s if op == "ocr" else self._settings.render.timeout_s
        total = limit if op == "ocr" else _TOTAL * limit
        answer = self._sandbox.call(request, timeout_s=limit, total_s=total, timeout_code=code)
        if answer.get("need_file") is True:
            answer = self._sandbox.call(request, path=self._path, timeout_s=limit, total_s=total, timeout_code=code)
        missing = _ANSWERS[op] - answer.keys()
        if missing:
            raise RowError(Code.CRASH, f"the reader answered nonsense: no {sorted(missing)[0]}")
        return answer

    def result(self, way: str, read: Mapping[str, Value], thumbnail: Mapping[str, Value]) -> PageRead:
        """The answer as a PageRead, every part checked."""
        width, height = _side(read["width"]), _side(read["height"])
        engine, turned = read["engine"], read.get("turned", 0)
        if engine not in _READERS or turned not in {0, 90, 180, 270}:
            raise RowError(Code.CRASH, "the reader answered nonsense: an unknown engine or turn")
        return PageRead(
            width=width,
            height=height,
            words=checked(read["words"], read["boxes"], read["lines"]),
            reader=f"{way}:{engine}@{turned}" if turned else f"{way}:{engine}",
            pixels=_pixels(thumbnail.get("pixels"), self._pixels) if self._pixels else None,
        )


_WORDS = {"words", "boxes", "lines", "width", "height", "engine"}
_ANSWERS = {"open": {"pages"}, "layer": {*_WORDS, "good"}, "picture": {"width", "height"}, "ocr": {*_WORDS, "turned"}}


def _side(value: Value) -> float:
    if type(value) not in (int, float) or not 0 < cast("float", value) < math.inf:
        raise RowError(Code.CRASH, f"the reader answered nonsense: a side of {value!r}")
    return float(cast("float", value))


def _pixels(value: Value, pixels: tuple[int, int]) -> Pixels:
    """An array of the size asked for."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.shape != (*pixels, 3):
        raise RowError(Code.CRASH, "the reader answered nonsense: no pixels")
    return cast("Pixels", value)


def _worse(first: str, refused: RowError, other: str, error: RowError) -> RowError:
    """The error of a page that both engines fail on."""
    told = error if error.code in {Code.PASSWORD_REQUIRED, Code.PAGE_TOO_LARGE} else refused
    details = (f"{name}: {one.code}: {one.message}\n{one.detail}" for name, one in ((first, refused), (other, error)))
    return RowError(told.code, told.message, detail="\n".join(details))
