"""A PDF page as a scanner would give it back: pixels only, a little crooked, noisy, and compressed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_PAPER = 255


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How a page was scanned."""

    dpi: int
    """Resolution of the scan."""
    skew: float
    """How far the sheet lay crooked, in degrees anticlockwise."""
    turn: int
    """How the sheet lay on the glass, in degrees anticlockwise: 0, 90, 180 or 270. Nothing in the PDF tells."""
    noise: float
    """Standard deviation of the noise, in grey levels of 255."""
    blur: float
    """Radius of the blur, in pixels."""
    quality: int
    """JPEG quality, 1 to 95."""
    shade: float
    """How much darker one side of the page is, in grey levels."""


def draw_scanner(rng: Random, turn: int) -> Scanner:
    """An office scanner of ordinary quality."""
    return Scanner(
        dpi=rng.choice((200, 240)),
        skew=rng.uniform(-2.0, 2.0),
        turn=turn,
        noise=rng.uniform(4, 16),
        blur=rng.uniform(0.3, 0.7),
        quality=rng.randint(45, 80),
        shade=rng.uniform(0, 30),
    )


def scan(pdf: bytes, scanner: Scanner, seed: int) -> bytes:
    """The first page of ``pdf`` as a PDF that holds one JPEG and no text."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    image = _degrade(_render(pdf, scanner.dpi), scanner, seed).rotate(scanner.turn, expand=True)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=scanner.quality)
    size = (image.width * 72 / scanner.dpi, image.height * 72 / scanner.dpi)
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=size, invariant=1)
    canvas.drawImage(ImageReader(jpeg), 0, 0, *size)
    canvas.save()
    return file.getvalue()


def to_png(pdf: bytes, dpi: int) -> bytes:
    """The first page of ``pdf`` as a PNG file, grey."""
    file = io.BytesIO()
    _render(pdf, dpi).save(file, "PNG")
    return file.getvalue()


def _render(pdf: bytes, dpi: int) -> Image:
    import pypdfium2

    with pypdfium2.PdfDocument(pdf) as document:
        page: Image = document[0].render(scale=dpi / 72, grayscale=True).to_pil()
        return page


def _degrade(page: Image, scanner: Scanner, seed: int) -> Image:
    from PIL import Image, ImageFilter

    crooked = page.rotate(scanner.skew, Image.Resampling.BICUBIC, fillcolor=_PAPER)
    blurred = crooked.filter(ImageFilter.GaussianBlur(scanner.blur))
    generator = np.random.default_rng(seed)
    pixels = np.asarray(blurred, np.float32)
    pixels = pixels - np.linspace(0, scanner.shade, pixels.shape[1], dtype=np.float32)
    pixels = pixels + scanner.noise * generator.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
