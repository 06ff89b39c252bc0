"""PDF through pdfium (pypdfium2): the fast engine. Runs inside the sandbox only; pdfium is not thread-safe.

Annotations and form fields are flattened into the page when it is loaded, in memory: then what a person sees of them
is in the text page and in the rendering, at its place. (Measured on 67 of pdf.js's test files: with this, no file is
left whose words only poppler finds.)
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pypdfium2 as pdfium
from numpy.typing import NDArray
from PIL import Image
from pypdfium2 import raw

from stages.errors import Code, RowError
from stages.pages import Size, check_page, check_pixels, check_sides
from stages.text_layer import INK_DPI, Layer
from stages.text_pdfium import count_characters, read_layer

_UNSEEN = frozenset({raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP})
"""Annotations that show no text of their own."""
_INK_SIDE = 2_400
"""Longest side of the small drawing, in pixels."""


class PdfiumDocument:
    """A PDF open in pdfium; the last page used stays loaded, because it is first searched and then rendered."""

    engine = "pdfium"

    def __init__(self, path: str) -> None:
        """Opens the file. Raises RowError(PASSWORD_REQUIRED, CORRUPT, EMPTY)."""
        try:
            self._document = pdfium.PdfDocument(path)
            self.pages = len(self._document)
        except pdfium.PdfiumError as error:
            raise _refused(error) from error
        if self.pages < 1:
            raise RowError(Code.EMPTY, "the document has no pages", detail="pdfium: 0 pages")
        with contextlib.suppress(pdfium.PdfiumError):  # a broken form is no reason not to read the page
            self._document.init_forms()
        self._loaded: tuple[int, raw.FPDF_PAGE, int] | None = None

    def size(self, page: int) -> Size:
        """Points as seen, from the page's boxes."""
        check_page(self, page)
        size = raw.FS_SIZEF()
        if not raw.FPDF_GetPageSizeByIndexF(self._document.raw, page - 1, size):
            raise RowError(Code.CORRUPT, f"page {page} cannot be read", detail="pdfium: no page size")
        check_sides((size.width, size.height))
        return Size(width=size.width, height=size.height)

    def dpi(self, page: int, dpi: int) -> int:  # noqa: ARG002
        """As asked."""
        return dpi

    def render(self, page: int, *, dpi: int, max_pixels: int) -> Image.Image:
        """The page at ``dpi`` as RGB. Raises RowError(PAGE_TOO_LARGE, OUT_OF_MEMORY, CORRUPT)."""
        width, height = check_pixels(self.size(page), dpi=dpi, max_pixels=max_pixels)
        return self._drawn(page, width, height, grey=False)

    def layer(self, page: int) -> Layer:
        """The page's text layer."""
        size = self.size(page)
        with self._page(page) as (handle, own_characters):
            layer = read_layer(handle, size, own_characters)
        return replace(layer, ink=lambda: self._ink(page))

    def close(self) -> None:
        """Frees the page and the file."""
        self._unload()
        self._document.close()

    def _ink(self, page: int) -> NDArray[np.uint8]:
        """The page drawn small in grey."""
        width, height = self.size(page).pixels(INK_DPI)
        shrink = min(1.0, _INK_SIDE / max(width, height))
        return np.asarray(self._drawn(page, max(1, int(width * shrink)), max(1, int(height * shrink)), grey=True))

    def _drawn(self, page: int, width: int, height: int, *, grey: bool) -> Image.Image:
        form, mode, order = (raw.FPDFBitmap_Gray, "L", "L") if grey else (raw.FPDFBitmap_BGR, "RGB", "BGR")
        with self._page(page) as (handle, _):
            bitmap = raw.FPDFBitmap_CreateEx(width, height, form, None, 0)
            if not bitmap:
                raise RowError(Code.OUT_OF_MEMORY, f"no memory for {width} × {height} pixels")
            try:
                raw.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
                flags = raw.FPDF_ANNOT | (raw.FPDF_GRAYSCALE if grey else 0)
                raw.FPDF_RenderPageBitmap(bitmap, handle, 0, 0, width, height, 0, flags)
                stride = raw.FPDFBitmap_GetStride(bitmap)
                buffer = (ctypes.c_ubyte * (stride * height)).from_address(
                    ctypes.cast(raw.FPDFBitmap_GetBuffer(bitmap), ctypes.c_void_p).value or 0,
                )
                # frombytes copies, so that the bitmap can go.
                return Image.frombytes(mode, (width, height), buffer, "raw", order, stride, 1)
            finally:
                raw.FPDFBitmap_Destroy(bitmap)

    @contextlib.contextmanager
    def _page(self, page: int) -> Iterator[tuple[raw.FPDF_PAGE, int]]:
        """The loaded page, and how many characters are its own rather than an annotation's."""
        if self._loaded is None or self._loaded[0] != page:
            self._unload()
            handle, own_characters = self._load(page)
            self._loaded = (page, handle, own_characters)
        yield self._loaded[1], self._loaded[2]

    def _load(self, page: int) -> tuple[raw.FPDF_PAGE, int]:
        handle = self._open(page)
        if not _shows_annotations(handle):
            return handle, -1
        own_characters = count_characters(handle)
        if self._document.formenv is not None:
            raw.FORM_OnAfterLoadPage(handle, self._document.formenv.raw)  # makes the look of fields that have none
        changed = raw.FPDFPage_Flatten(handle, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS
        if self._document.formenv is not None:
            raw.FORM_OnBeforeClosePage(handle, self._document.formenv.raw)
        if not changed:
            return handle, -1
        raw.FPDF_ClosePage(handle)
        return self._open(page), own_characters

    def _open(self, page: int) -> raw.FPDF_PAGE:
        handle = raw.FPDF_LoadPage(self._document.raw, page - 1)
        if not handle:
            raise RowError(Code.CORRUPT, f"page {page} cannot be read", detail="pdfium: FPDF_LoadPage")
        return handle

    def _unload(self) -> None:
        if self._loaded is not None:
            raw.FPDF_ClosePage(self._loaded[1])
            self._loaded = None


def _shows_annotations(page: raw.FPDF_PAGE) -> bool:
    for index in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if annotation:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            raw.FPDFPage_CloseAnnot(annotation)
            if kind not in _UNSEEN:
                return True
    return False


def _refused(error: pdfium.PdfiumError) -> RowError:
    detail = f"pdfium: {error}"
    if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD:
        return RowError(Code.PASSWORD_REQUIRED, "the document asks for a password", detail=detail)
    return RowError(Code.CORRUPT, "the document cannot be opened", detail=detail)
