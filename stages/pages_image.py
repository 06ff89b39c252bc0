"""Images as documents, through Pillow: PNG, JPEG, TIFF with several pages, and what else has pages of pixels.

The camera's EXIF orientation is applied; transparency is laid on white; 16 bits a sample become 8; CMYK becomes RGB.
Only a TIFF has more than one page: the frames of an animation and a camera's previews are no pages.
"""

from __future__ import annotations

import warnings

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from stages.errors import Code, RowError
from stages.pages import Size, check_page, check_pixels
from stages.text_layer import Layer

_PLUGINS = (
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
)
FORMATS = tuple(plugin.format for plugin in _PLUGINS)
"""What is tried; Pillow's readers for anything else are not even loaded."""

_EXIF_ORIENTATION = 0x0112
_CREDIBLE_DPI = range(100, 1201)

#: What Pillow raises for broken files, beside OSError: its readers trust their input.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, ArithmeticError)

# Our own limit is checked from the header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module="PIL")


class ImageDocument:
    """An open image file."""

    engine = "pillow"

    def __init__(self, path: str) -> None:
        """Reads the header. Raises RowError(CORRUPT)."""
        try:
            self._image = Image.open(path, formats=FORMATS)
        except (UnidentifiedImageError, *_BROKEN) as error:
            raise _corrupt(error) from error
        try:
            self.pages = int(getattr(self._image, "n_frames", 1)) if self._image.format == "TIFF" else 1
        except _BROKEN as error:
            self.close()
            raise _corrupt(error) from error
        if self.pages < 1:
            self.close()
            raise RowError(Code.EMPTY, "the image has no pages")

    def size(self, page: int) -> Size:
        """Pixels after the EXIF orientation, from the header."""
        image = self._at(page)
        width, height = image.size
        if min(width, height) < 1:
            raise RowError(Code.CORRUPT, f"the image has {width} × {height} pixels")
        turned = _orientation(image) in {5, 6, 7, 8}
        return Size(width=height, height=width) if turned else Size(width=width, height=height)

    def dpi(self, page: int, dpi: int) -> int:  # noqa: ARG002  (an image has its own)
        """What the file claims where that is credible, else 300, which suits tesseract where nothing is known."""
        claimed = self._at(page).info.get("dpi")
        first = claimed[0] if isinstance(claimed, tuple) and claimed else 0
        try:
            rounded = round(float(first))
        except (ValueError, OverflowError, ArithmeticError):
            return 300
        return rounded if rounded in _CREDIBLE_DPI else 300

    def render(self, page: int, *, dpi: int, max_pixels: int) -> Image.Image:  # noqa: ARG002
        """The page's own pixels as RGB on white, upright. Raises RowError(PAGE_TOO_LARGE, CORRUPT)."""
        check_pixels(self.size(page), dpi=None, max_pixels=max_pixels)
        image = self._at(page)
        as_it_lies = _orientation(image) == 1
        try:
            image.load()
            return _rgb(image if as_it_lies else ImageOps.exif_transpose(image))
        except _BROKEN as error:
            raise _corrupt(error) from error

    def layer(self, page: int) -> Layer:
        """An image has no text layer."""
        return Layer.none(self.size(page), self.engine)

    def close(self) -> None:
        """Frees the file."""
        self._image.close()

    def _at(self, page: int) -> Image.Image:
        check_page(self, page)
        try:
            self._image.seek(page - 1)
        except _BROKEN as error:
            raise _corrupt(error) from error
        return self._image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that the header tells. A PNG without one is not asked: Pillow would decode it to look."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _BROKEN:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey with more than 8 bits → 8; Pillow's own conversion would cut off everything above 255."""
    values = np.asarray(image, dtype=np.float32)
    top = float(values.max(initial=0.0))
    if image.mode == "F" and top <= 1.0:
        values = values * 255
    elif top > 255:
        values = values * (255 / max(65_535.0, top))
    return Image.fromarray(np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8))


def _corrupt(error: Exception) -> RowError:
    return RowError(Code.CORRUPT, "the image cannot be decoded", detail=f"pillow: {type(error).__name__}: {error}")
