"""See: an image, or a page of a document, to the pixels that a model takes. ``stages.reading`` does it, on tables here.

Images are upright (EXIF), RGB on white, 16 bits brought to 8; of an animation the first frame; a TIFF has pages.
Decoding and scaling happen in the sandbox: only the picture in the model's size crosses to other stages.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from typing import ClassVar

from stages.base import Row
from stages.reading import READER, Picture, open_sandbox, see_page
from stages.sensing import Sense, Senses
from stages.settings import Settings
from stages.view import View

SEEING_VERSION = 1
"""Raised when the same images and settings give other pixels."""


@dataclass(frozen=True, kw_only=True)
class See(Sense):
    """Decodes images in the sandbox and hands on their pixels in the size that the model takes."""

    name: ClassVar[str] = "see"
    column: ClassVar[str] = "picture"
    paged: ClassVar[bool] = True
    view: View
    target: str = READER
    """What runs in the sandbox."""

    def open(self) -> Senses:
        """Starts nothing: the child comes with the first image."""
        return _See(self)


class _See(Senses):
    def __init__(self, stage: See) -> None:
        super().__init__(stage, open_sandbox(stage.settings, target=stage.target))
        self._settings, self._view = stage.settings, stage.view

    def sense(self, path: str, page: int) -> Row:
        return packed(see_page(self.sandbox, path, page, self._settings, view=self._view))


def packed(picture: Picture) -> Row:
    """A picture as a value of the column ``picture``."""
    height, width = picture.pixels.shape[:2]
    return {
        "pixels": picture.pixels.tobytes(),
        "height": height,
        "width": width,
        "image_height": picture.height,
        "image_width": picture.width,
    }


def see_fingerprint(settings: Settings) -> str:
    """What decides the pixels of an image: Manta's and Pillow's versions, and for PDFs how pages are drawn."""
    parts = {
        "seeing": SEEING_VERSION,
        "engines": {name: importlib.metadata.version(name) for name in ("pillow", "pypdfium2")},
        "render": [settings.render.engine, settings.render.dpi, settings.render.max_pixels],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
