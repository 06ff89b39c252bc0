"""Depth estimation: how far away each pixel of an image is.

Shape suffixes: B images of a batch, Y and X rows and columns of depths.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import unbatch
from pipelines.tasks.seeing import SeeingTask, image_size
from stages.base import Row
from stages.examples import Example, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 65_535
"""Steps between the least and the greatest depth in a 16-bit PNG."""


class DepthEstimation(SeeingTask):
    """One depth a pixel, at the image's own size."""

    name = "depth-estimation"
    summary = "how far away each pixel of an image is"
    writes: ClassVar[tuple[str, ...]] = ("depth_png", "depth_min", "depth_max")
    auto_class = "AutoModelForDepthEstimation"

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``depth`` (Y·X,) of each example in the model's size, and that size."""
        depth_BYX = self.model(pixel_values=self.as_model(batch["pixel_values"])).predicted_depth
        size = np.array(depth_BYX.shape[1:], np.int32)
        return [{**one, "size": size} for one in unbatch({"depth": depth_BYX.flatten(1)})]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``depth_png, depth_min, depth_max``."""
        size = outputs[0]["size"]
        depth = at_size(outputs[0]["depth"].reshape(int(size[0]), int(size[1])).astype(np.float32), image_size(row))
        low, high = float(depth.min()), float(depth.max())
        return {"depth_png": as_png(depth, low, high), "depth_min": low, "depth_max": high}


def at_size(depth_YX: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The depths at the image's height and width, bicubic, as transformers' ``post_process_depth_estimation``."""
    import torch
    from torch.nn.functional import interpolate

    scaled = interpolate(torch.from_numpy(depth_YX)[None, None], size=size, mode="bicubic", align_corners=False)
    return np.asarray(scaled[0, 0].numpy(), np.float32)


def as_png(depth_YX: NDArray[np.float32], low: float, high: float) -> bytes:
    """A grey PNG of 16 bits: ``low`` is 0 and ``high`` 65535, in even steps."""
    from PIL import Image

    levels = np.rint((depth_YX.astype(np.float64) - low) * (LEVELS / ((high - low) or 1.0)))
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint16)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def from_png(png: bytes, low: float, high: float) -> NDArray[np.float32]:
    """The depths that ``as_png`` wrote, each within half a step."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(low + np.asarray(image, np.float64) * ((high - low) / LEVELS), np.float32)
