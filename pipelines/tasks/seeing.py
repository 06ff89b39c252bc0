"""What every task on images shares: the picture of a row, batches of one shape, the model.

Shape suffixes: B images of a batch, Y and X rows and columns of pixels.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipelines.family import Batch, Task
from pipelines.tasks.loading import load_config, load_weights
from pipelines.tasks.padding import labels_of
from pipelines.tasks.sight import Sight, load_sight
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example
from stages.takes import Takes

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig

PATCH = 16
"""Side of what counts as one visual token, where a model does not cut images into patches of its own."""


class SeeingTask(Task):
    """A task on ``picture``; one example a row. A subclass names ``auto_class``, writes ``forward`` and ``decode``."""

    reads: ClassVar[tuple[str, ...]] = ("picture",)
    auto_class: ClassVar[str]
    """The class that loads the model, of transformers."""
    config: PreTrainedConfig
    sight: Sight

    def unused_weights(self) -> tuple[str, ...]:
        """Patterns of weights that the task does not look at, which a checkpoint may lack."""
        return ()

    def load_processor(self) -> None:
        """Loads the configuration and the image processor."""
        self.config, self.sight = load_config(self.checkpoint), load_sight(self.checkpoint)

    def takes(self) -> Takes:
        """The size of its image processor."""
        return self.sight.view

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights; on the device ``meta`` only their names, which tells whether the checkpoint has them."""
        self.model = load_weights(
            self.checkpoint,
            self.auto_class,
            device=device,
            dtype=dtype,
            unused=self.unused_weights(),
            allow_random_head=self.options.allow_random_head,
        )

    def encode(self, row: Row) -> list[Example]:
        """One example: the picture."""
        return [self.look(row)]

    def look(self, row: Row, column: str = "picture") -> Example:
        """The picture in ``column``: ``pixels`` (Y·X·3,) and ``size`` (2,). Raises RowError(ENCODE_FAILED)."""
        pixels, sides = picture_of(row, column)
        patch = patch_of(self.config)
        tokens = math.prod(math.ceil(side / patch) for side in sides) + 1
        arrays: dict[str, np.ndarray[Any, Any]] = {"pixels": pixels, "size": np.array(sides, np.int32)}
        return Example(arrays=arrays, length=tokens, group=group_of(*sides))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``pixel_values`` (B, 3, Y, X), and ``labels`` where there are any."""
        return {"pixel_values": self.sight.tensor([_shaped(one) for one in examples]), **labels_of(examples)}

    def as_model(self, tensor: torch.Tensor) -> torch.Tensor:
        """Numbers in the format of the model's weights."""
        return tensor.to(self.model.dtype)


def group_of(*sides: int) -> int:
    """A number (1 to 2^31 - 1) that examples of one shape share and those of another do not."""
    return max(zlib.crc32(repr(sides).encode()) >> 1, 1)


def picture_of(row: Row, column: str) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The row's pixels, flat, and their height and width. Raises RowError(ENCODE_FAILED) where it has none."""
    picture = row.get(column)
    if not isinstance(picture, dict):
        raise RowError(Code.ENCODE_FAILED, "the row has no image")
    sides = cast("int", picture["height"]), cast("int", picture["width"])
    pixels = np.frombuffer(cast("bytes", picture["pixels"]), np.uint8)
    if len(pixels) != math.prod(sides) * 3:
        raise RowError(Code.ENCODE_FAILED, f"the row's picture is not of {sides[0]} × {sides[1]} pixels")
    return pixels, sides


def image_size(row: Row) -> tuple[int, int]:
    """Height and width of the image that the row's picture was made of, in pixels."""
    picture = cast("Mapping[str, int]", row["picture"])
    return picture["image_height"], picture["image_width"]


def _shaped(example: Example) -> NDArray[np.uint8]:
    height, width = (int(side) for side in example.arrays["size"])
    return cast("NDArray[np.uint8]", example.arrays["pixels"]).reshape(height, width, 3)


def patch_of(config: Any) -> int:  # noqa: ANN401  families' configurations have no common type
    """Side of a visual token, in pixels."""
    eyes = getattr(config, "vision_config", None) or getattr(config, "encoder", config)
    size = getattr(eyes, "patch_size", PATCH)
    return int(size if isinstance(size, int) else size[0])
