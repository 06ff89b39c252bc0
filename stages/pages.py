"""Documents as pages: what kind a file is, how many pages it has, how large they are, what they look like.

Runs inside the sandbox only. One contract, three engines: ``pdfium`` (stages/pages_pdfium.py) and ``poppler``
(stages/pages_poppler.py) for PDF, Pillow (stages/pages_image.py) for images, which are documents too. An engine that
cannot open or render a file raises RowError; its caller then tries the other one, because the sets of files that they
fail on differ (of 971 test files 9 open in pdfium only, 8 in poppler only).

Sizes are of the page as seen: after /Rotate and cropping, or after the camera's EXIF orientation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stages.errors import Code, RowError

if TYPE_CHECKING:
    from PIL.Image import Image

    from stages.text_layer import Layer

PDF_ENGINES = ("pdfium", "poppler")

MAX_SIDE = 14_400.0
"""Longest side of a page in points: 200 inches, the bound that the PDF specification gives for readers."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A page's size as seen."""

    width: float
    """Points (1/72 inch) for PDF, pixels for images."""
    height: float
    """In the same unit."""

    def pixels(self, dpi: float | None) -> tuple[int, int]:
        """Width and height in pixels when rendered at ``dpi``; None for images, which have their pixels already."""
        scale = 1.0 if dpi is None else dpi / 72
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


class Document(Protocol):
    """One open document. Pages count from 1. Everything raises RowError; nothing is rendered before it is asked for."""

    engine: str
    """pdfium, poppler or pillow."""
    pages: int

    def size(self, page: int) -> Size:
        """The page's size as seen, from the page's description alone, in milliseconds."""

    def render(self, page: int, *, dpi: int, max_pixels: int) -> Image:
        """The page as an RGB image on white; images keep their own pixels whatever ``dpi`` says.

        Raises RowError(PAGE_TOO_LARGE) before anything is rendered or decoded.
        """

    def dpi(self, page: int, dpi: int) -> int:
        """Dots per inch of what ``render`` gives: ``dpi`` itself for PDF, what an image claims where it is credible."""

    def layer(self, page: int) -> Layer:
        """The page's text layer; without words where there is none."""

    def close(self) -> None:
        """Frees the file."""


def sniff(path: str) -> str:
    """``pdf`` or ``image`` by content. Raises RowError(EMPTY) without bytes, UNSUPPORTED_TYPE for a known other type.

    What has no signature counts as PDF, because readers open PDFs that begin with anything.
    """
    with Path(path).open("rb") as file:
        head = file.read(1024)
    if not head:
        raise RowError(Code.EMPTY, "the file has no bytes")
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if head[4:8] == b"ftyp" or (head[:4] == b"RIFF" and head[8:12] in {b"WAVE", b"AVI "}):
        raise RowError(Code.UNSUPPORTED_TYPE, f"the file is {_MEDIA}, not a PDF or an image")
    for name, signatures in _OTHERS.items():
        if head.lstrip().lower().startswith(signatures):
            raise RowError(Code.UNSUPPORTED_TYPE, f"the file is {name}, not a PDF or an image")
    return "pdf"


def check_other_type(path: str) -> None:
    """Raises RowError(UNSUPPORTED_TYPE) where a file that no media reader opens is known to be something else."""
    with Path(path).open("rb") as file:
        head = file.read(1024).lstrip().lower()
    for name, signatures in {"a PDF": (b"%pdf-",), **_OTHERS}.items():
        if head.startswith(signatures) and name != _MEDIA:
            raise RowError(Code.UNSUPPORTED_TYPE, f"the file is {name}")


_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"BM")
_MEDIA = "a recording or a video"
_OTHERS: dict[str, tuple[bytes, ...]] = {
    "a ZIP archive or office document": (b"pk\x03\x04",),
    "an old office document": (b"\xd0\xcf\x11\xe0",),
    "a rich text document": (b"{\\rtf",),
    "a web page": (b"<!doctype html", b"<html"),
    "PostScript": (b"%!ps",),
    _MEDIA: (b"flac", b"oggs", b"id3", b"\x1ae\xdf\xa3"),
    "a compressed file": (b"\x1f\x8b", b"bzh", b"\xfd7zxz", b"7z\xbc\xaf", b"rar!"),
}


def open_document(path: str, engine: str) -> Document:
    """Opens a file by its content; ``engine`` chooses between the PDF engines and does not matter for images.

    Raises RowError: EMPTY, UNSUPPORTED_TYPE, PASSWORD_REQUIRED, CORRUPT.
    """
    if sniff(path) == "image":
        from stages.pages_image import ImageDocument

        return ImageDocument(path)
    if engine == "poppler":
        from stages.pages_poppler import PopplerDocument

        return PopplerDocument(path)
    from stages.pages_pdfium import PdfiumDocument

    return PdfiumDocument(path)


def check_page(document: Document, page: int) -> None:
    """Raises RowError(CORRUPT) for a page that the document does not have."""
    if not 1 <= page <= document.pages:
        raise RowError(Code.CORRUPT, f"there is no page {page} of {document.pages}")


def check_pixels(size: Size, *, dpi: int | None, max_pixels: int) -> tuple[int, int]:
    """Width and height in pixels. Raises RowError(PAGE_TOO_LARGE) above ``max_pixels``."""
    width, height = size.pixels(dpi)
    if width * height > max_pixels:
        at = "" if dpi is None else f" at {dpi} dpi"
        raise RowError(
            Code.PAGE_TOO_LARGE,
            f"the page has {width} × {height} pixels{at}, more than render.max_pixels = {max_pixels}",
        )
    return width, height


def check_sides(sides: Sequence[float]) -> None:
    """Raises RowError for a page box, in points, that no page can have."""
    if not all(side > 0 for side in sides):  # NaN too
        raise RowError(Code.CORRUPT, f"the page has no area: {' × '.join(f'{side:g}' for side in sides)} points")
    if max(sides) > MAX_SIDE:
        raise RowError(
            Code.PAGE_TOO_LARGE,
            f"the page is {' × '.join(f'{side:g}' for side in sides)} points; PDF allows {MAX_SIDE:g}",
        )
