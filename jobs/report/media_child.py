"""Inside the sandbox: draws what a model saw or heard of one file, small.

An image stands as it is, its depths below it in colours; a video is a strip of frames; a recording is its waveform.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from stages.pages import open_document
from stages.view import View, viewed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.frames import Value
    from stages.sandbox_child import Handler

    Pixels = NDArray[np.uint8]

_MAX_PIXELS = 100_000_000
_MAX_HEIGHT = 4000
_FRAMES = 6
_WAVE_HEIGHT = 240
_WAVE_RATE = 8000
_PDF_DPI = 300
"""Resolution at which a run draws pages of PDFs for models, unless told otherwise."""
_COLOURS = np.array([[48, 18, 59], [40, 150, 240], [120, 240, 90], [250, 190, 50], [122, 4, 3]], np.float32)
"""From near 0 to near the greatest depth: a few of Google's Turbo."""


def open_drawer(settings: Mapping[str, Value]) -> Handler:
    """The sandbox's target: ``{medium, page, width, depth}`` and a file → ``{pixels}``, uint8 (height, width, 3), and
    how much of the answers' units these span: ``across`` and ``down`` (pixels of the image, or seconds and 1)."""
    del settings

    def handle(request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]:
        assert file is not None
        width = cast("int", request["width"])
        match request["medium"]:
            case "audio":
                return _wave(file, width)
            case "video":
                return _strip(file, width)
            case _:
                return _image(file, cast("int", request["page"]), width, cast("bytes", request["depth"]))

    return handle


def _image(file: str, page: int, width: int, depth: bytes) -> dict[str, Value]:
    from PIL import Image

    document = open_document(file, "pdfium")
    try:
        image = document.render(page, dpi=_PDF_DPI, max_pixels=_MAX_PIXELS)
    finally:
        document.close()
    own = image.size
    image.thumbnail((width, _MAX_HEIGHT // 2))
    pixels, down = np.asarray(image), float(own[1])
    if depth:
        with Image.open(io.BytesIO(depth), formats=["PNG"]) as levels:
            coloured = _coloured(np.asarray(levels.resize(image.size), np.float64) / 65_535)
        pixels, down = np.concatenate([pixels, coloured]), 2 * down
    return {"pixels": pixels, "across": float(own[0]), "down": down}


def _coloured(shares: NDArray[np.float64]) -> Pixels:
    """0 to 1 as colours."""
    places = np.clip(shares, 0, 1) * (len(_COLOURS) - 1)
    low = np.minimum(places.astype(int), len(_COLOURS) - 2)
    part = (places - low)[..., None]
    return np.asarray(_COLOURS[low] * (1 - part) + _COLOURS[low + 1] * part, np.uint8)


def _strip(file: str, width: int) -> dict[str, Value]:
    from stages.video_child import clips_of

    frames, seconds = clips_of(file, (_FRAMES, 2**20, 1), max_s=24 * 3600, max_pixels=_MAX_PIXELS)
    height, own = frames[0].height, frames[0].width
    across = width // _FRAMES
    view = View(fit="exact", height=max(round(height * across / own), 1), width=across)
    return {"pixels": np.concatenate([viewed(one, view) for one in frames], axis=1), "across": seconds, "down": 1.0}


def _wave(file: str, width: int) -> dict[str, Value]:
    from stages.audio_child import decoded

    samples = decoded(file, _WAVE_RATE, 24 * 3600)
    ends = np.linspace(0, len(samples), width + 1).astype(int)
    peaks = np.array([np.abs(samples[a : max(b, a + 1)]).max(initial=0) for a, b in itertools.pairwise(ends)])
    half = np.clip(peaks / max(float(peaks.max()), 1e-6), 0, 1) * (_WAVE_HEIGHT / 2 - 2)
    rows = np.abs(np.arange(_WAVE_HEIGHT)[:, None] - _WAVE_HEIGHT / 2)
    pixels = np.full((_WAVE_HEIGHT, width, 3), 255, np.uint8)
    pixels[rows <= half[None, :]] = (70, 110, 180)
    return {"pixels": pixels, "across": len(samples) / _WAVE_RATE, "down": 1.0}
