"""How a model looks at an image: in which size, and how an image comes to that size. Used inside the sandbox.

The sizes and pixels are those of transformers' image processors in their Pillow versions, before these scale the
numbers; so what leaves the sandbox is uint8, and no more of it than the model takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, cast

from stages.errors import Code, RowError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from stages.frames import Value

Fit = Literal["own", "exact", "shortest", "multiple", "ratio"]

MOST_PIXELS = 40_000_000
"""Largest picture that leaves the sandbox; a frame holds 128 MB."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The size that a model takes. What else its processor does (scale, mean) happens beside the model."""

    fit: Fit = "own"
    """own keeps the image's size; exact stretches it to height × width; shortest scales it until its shorter side is
    ``height``; multiple rounds both sides down to one of ``multiple``; ratio scales it to height × width as little as
    possible, both sides to the nearest multiple"""
    height: int = 0
    width: int = 0
    multiple: int = 1
    resample: int = 2
    """Pillow's filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming"""
    crop: tuple[int, int] | None = None
    """Height and width of the middle that is cut out; what is smaller is put on black"""

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of that size before the crop."""
        match self.fit:
            case "own":
                return height, width
            case "exact":
                return self.height, self.width
            case "shortest":
                short, long = sorted((height, width))
                other = int(self.height * long / short)
                return (other, self.height) if width <= height else (self.height, other)
            case "multiple":
                return self._down(height), self._down(width)
            case "ratio":
                scales = self.height / height, self.width / width
                scale = scales[1] if abs(1 - scales[1]) < abs(1 - scales[0]) else scales[0]
                return self._near(scale * height), self._near(scale * width)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the picture made of an image of that size."""
        return self.crop or self.resized(height, width)

    def _down(self, side: int) -> int:
        """At least one multiple, where transformers would have nothing left."""
        return max(side // self.multiple, 1) * self.multiple

    def _near(self, side: float) -> int:
        return max(round(side / self.multiple), 1) * self.multiple

    def packed(self) -> dict[str, Value]:
        """For a frame to the sandbox."""
        return {**asdict(self), "crop": list(self.crop) if self.crop else None}

    @classmethod
    def unpacked(cls, value: Mapping[str, Value]) -> View:
        """What ``packed`` made."""
        numbers = {name: cast("int", value[name]) for name in ("height", "width", "multiple", "resample")}
        crop = cast("list[int] | None", value["crop"])
        return cls(fit=cast("Fit", value["fit"]), crop=(crop[0], crop[1]) if crop else None, **numbers)


def viewed(image: Image, view: View, max_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """An RGB image as the model looks at it: (height, width, 3). Raises RowError(PAGE_TOO_LARGE) where scaling it would
    make more than ``max_pixels``, as of an image that is one pixel high."""
    import numpy as np
    from PIL.Image import Resampling

    size = view.resized(image.height, image.width)
    shape = view.shape(image.height, image.width)
    if math.prod(size) > max_pixels or math.prod(shape) > MOST_PIXELS:
        raise RowError(
            Code.PAGE_TOO_LARGE,
            f"an image of {image.width} × {image.height} pixels would become {size[1]} × {size[0]} for this model",
        )
    if size != (image.height, image.width):
        image = image.resize((size[1], size[0]), Resampling(view.resample))
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels if view.crop is None else _middle(pixels, *view.crop))


def _middle(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The middle of an image, as ``transformers.image_transforms.center_crop`` finds it, odd sides included."""
    import numpy as np

    there = pixels.shape[:2]
    wanted = (height, width)
    starts = [(own - ours) // 2 for own, ours in zip(there, wanted, strict=True)]
    if min(starts) < 0:
        whole = [max(pair) for pair in zip(there, wanted, strict=True)]
        pads = [math.ceil((size - own) / 2) for size, own in zip(whole, there, strict=True)]
        padded = np.zeros((*whole, 3), np.uint8)
        padded[pads[0] : pads[0] + there[0], pads[1] : pads[1] + there[1]] = pixels
        pixels, starts = padded, [start + pad for start, pad in zip(starts, pads, strict=True)]
    return pixels[starts[0] : starts[0] + height, starts[1] : starts[1] + width]
