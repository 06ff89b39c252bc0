"""The reader inside the sandbox: all native code that touches documents runs here (stages/sandbox_child.py).

Requests name an operation and a document by ``key``; the file itself is passed only when the answer is
``{"need_file": True}``, because a child keeps the newest one open between calls:

    open     engine                         → pages
    layer    engine, page                   → words, boxes, lines, width, height, engine, good
    picture  engine, page, dpi, max_pixels  → width, height; the picture is kept for ``ocr``; pixels where asked for
    ocr      the same, and ocr_engine       → words, boxes, lines, width, height, engine, turned; pixels likewise

``pixels`` = [height, width] asks for the page in that size: RGB, resized as transformers' image processors do; of a
``picture``, ``turned`` degrees clockwise. ``view`` (stages/view.py) asks a ``picture`` for what a model looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stages.ocr import OcrEngine, open_engine, turn
from stages.pages import Document, open_document
from stages.sandbox_child import Handler, progress
from stages.settings import Ocr
from stages.text_layer import is_good
from stages.view import View, viewed

if TYPE_CHECKING:
    from PIL.Image import Image

    from stages.frames import Value
    from stages.pages import Size
    from stages.words import Words


def open_reader(settings: Mapping[str, Value]) -> Handler:
    """The handler; ``settings`` are those of section ``ocr`` that matter here: lang and psm."""
    return _Reader(Ocr(lang=str(settings["lang"]), psm=cast("int", settings["psm"]))).handle


@dataclass(frozen=True, kw_only=True)
class _Page:
    """Which page at which resolution a request is about."""

    engine: str
    page: int
    dpi: int
    max_pixels: int

    @classmethod
    def of(cls, request: Mapping[str, Value]) -> _Page:
        numbers = [cast("int", request[name]) for name in ("page", "dpi", "max_pixels")]
        return cls(engine=str(request["engine"]), page=numbers[0], dpi=numbers[1], max_pixels=numbers[2])


class _Reader:
    """The newest document, open in each engine that was asked for, the newest picture, and the OCR engines."""

    def __init__(self, ocr: Ocr) -> None:
        self._ocr = ocr
        self._key: Value = None
        self._file = ""
        self._open: dict[str, Document] = {}
        self._picture: tuple[_Page, Image] | None = None
        self._ocr_engines: dict[str, OcrEngine] = {}
        self._operations: dict[str, Callable[[Mapping[str, Value]], dict[str, Value]]] = {
            "open": self._pages,
            "layer": self._layer,
            "picture": self._drawn,
            "ocr": self._read,
        }

    def handle(self, request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]:
        """One request; see the module's docstring."""
        if file is not None:
            self._forget()
            self._key, self._file = request["key"], file
        elif request["key"] != self._key:
            return {"need_file": True}
        return self._operations[str(request["op"])](request)

    def _pages(self, request: Mapping[str, Value]) -> dict[str, Value]:
        return {"pages": self._document(str(request["engine"])).pages}

    def _layer(self, request: Mapping[str, Value]) -> dict[str, Value]:
        layer = self._document(str(request["engine"])).layer(cast("int", request["page"]))
        progress()
        return _words(layer.words, layer.size) | {"engine": layer.engine, "good": is_good(layer)}

    def _drawn(self, request: Mapping[str, Value]) -> dict[str, Value]:
        page = _Page.of(request)
        size = self._document(page.engine).size(page.page)
        image = self._image(page)
        where: dict[str, Value] = {"width": size.width, "height": size.height}
        return where | _thumbnail(image, request) | _viewed(image, request)

    def _read(self, request: Mapping[str, Value]) -> dict[str, Value]:
        page, engine = _Page.of(request), str(request["ocr_engine"])
        document, image = self._document(page.engine), self._image(page)
        if engine not in self._ocr_engines:
            self._ocr_engines[engine] = open_engine(engine, self._ocr)
        reading = self._ocr_engines[engine].read(image, document.dpi(page.page, page.dpi))
        size = document.size(page.page)
        if reading.turned % 180:
            size = type(size)(width=size.height, height=size.width)
        found: dict[str, Value] = {"engine": engine, "turned": reading.turned}
        return _words(reading.words, size) | found | _thumbnail(reading.image, request)

    def _image(self, page: _Page) -> Image:
        """The page drawn, or as it was drawn last."""
        if self._picture is None or self._picture[0] != page:
            self._picture = None  # one at a time in memory
            image = self._document(page.engine).render(page.page, dpi=page.dpi, max_pixels=page.max_pixels)
            self._picture = (page, image)
            progress()
        return self._picture[1]

    def _document(self, engine: str) -> Document:
        if engine not in self._open:
            self._open[engine] = open_document(self._file, engine)
            progress()
        return self._open[engine]

    def _forget(self) -> None:
        for document in self._open.values():
            document.close()
        self._open.clear()
        self._picture = None


def _words(words: Words, size: Size) -> dict[str, Value]:
    where: dict[str, Value] = {"width": size.width, "height": size.height}
    return where | {"words": words.words, "boxes": words.boxes, "lines": words.lines}


def _thumbnail(image: Image, request: Mapping[str, Value]) -> dict[str, Value]:
    """``image`` in the size that ``pixels`` asks for, as an array (height, width, 3); nothing where it does not."""
    pixels = request.get("pixels")
    if pixels is None:
        return {}
    height, width = cast("list[int]", pixels)
    upright = turn(image, cast("int", request.get("turned", 0)))
    return {"pixels": viewed(upright, View(fit="exact", height=height, width=width))}


def _viewed(image: Image, request: Mapping[str, Value]) -> dict[str, Value]:
    """``image`` as ``view`` asks for it, and its own size in pixels; nothing where it does not ask."""
    view = request.get("view")
    if view is None:
        return {}
    seen = viewed(image, View.unpacked(cast("Mapping[str, Value]", view)), cast("int", request["max_pixels"]))
    return {"seen": seen, "image": [image.height, image.width]}
