"""Tasks whose model also looks at the page: its pixels become visual tokens, which stand behind the words.

A page is looked at once, however many windows it has or questions are asked of it: what the backbone sees of it is kept
for the windows that come after.

Shape suffixes: B windows of a batch, Y and X rows and columns of pixels, V visual tokens, F their features.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Checkpoint, Options
from pipelines.tasks.windowed import WindowedTask
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

KEPT = 64
"""Pages whose visual features are kept; 50 kB each at 49 tokens of 256 numbers."""


class LookingTask(WindowedTask):
    """Put before a task in windows, it adds the page's pixels. The model is one whose ``image`` may be features."""

    reads: ClassVar[tuple[str, ...]] = ("words", "boxes", "pixels")
    pixels: ClassVar[tuple[int, int]] = (224, 224)
    boxed = True

    def __init__(self, checkpoint: Checkpoint, options: Options | None = None) -> None:
        super().__init__(checkpoint, options)
        self._seen: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._weights = 0

    def load_processor(self) -> None:
        """Loads what the words need, and the number of visual tokens."""
        super().load_processor()
        self.visual_tokens = math.prod(self.config.image_feature_pool_shape[:2])

    def encode(self, row: Row) -> list[Example]:
        """One example a window, each with the page's ``image`` (Y·X·3,)."""
        image = read_pixels(row, self.pixels)
        return [
            replace(one, arrays={**one.arrays, "image": image}, extra=self.visual_tokens)
            for one in super().encode(row)  # type: ignore[safe-super]  # of the task that this is put before
        ]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """What the words are, and ``image`` (B, 3, Y, X), uint8: blue, green, red."""
        import torch

        images_BYX3 = np.stack([one.arrays["image"].reshape(*self.pixels, 3) for one in examples])
        flipped = np.ascontiguousarray(images_BYX3[..., ::-1].transpose(0, 3, 1, 2))
        return {**super().collate(examples), "image": torch.from_numpy(flipped)}

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """What the task says of each window, after one look at each page."""
        looked = {**batch, "image": self._looked(batch["image"], examples)}
        return super().forward(looked, examples)  # type: ignore[safe-super]

    def _looked(self, image_B3YX: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        """Visual features (B, V, F): those of earlier batches, and those of pages that are new."""
        import torch

        self._forget_after_training()
        keys = [one.arrays["image"].tobytes() for one in examples]
        new = {key: at for at, key in enumerate(keys) if key not in self._seen}
        if new:
            see: Any = self.model.base_model.see
            self._seen.update(zip(new, see(image_B3YX[list(new.values())]), strict=True))
        features_BVF = torch.stack([self._seen[key] for key in keys])
        for key in keys:
            self._seen.move_to_end(key)
        while len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return features_BVF

    def _forget_after_training(self) -> None:
        """Drops what was seen with weights that have changed since, as they do between two evaluations."""
        weights = self.model.state_dict(keep_vars=True).values()
        version = hash(tuple((id(one), one._version) for one in weights))
        if version != self._weights:
            self._seen, self._weights = OrderedDict(), version


def read_pixels(row: Row, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The row's pixels, flat. Raises RowError(ENCODE_FAILED) where they are missing or of another size."""
    pixels = row.get("pixels")
    if not isinstance(pixels, bytes) or len(pixels) != math.prod(size) * 3:
        there = "no pixels" if pixels is None else "pixels of another size"
        raise RowError(Code.ENCODE_FAILED, f"the row has {there}; the task looks at {size[0]} × {size[1]} of a page")
    return np.frombuffer(pixels, np.uint8)
