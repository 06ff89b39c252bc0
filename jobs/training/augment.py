"""What training changes at random in encoded examples: where words stand, and which can be read; what of a picture is
seen (augment_pixels.py).

L tokens of an example.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jobs.training.augment_pixels import varied
from jobs.training.settings import Augment
from stages.examples import Example

EDGE = 1000
"""The page's far edges, in thousandths."""


@dataclass(frozen=True, kw_only=True)
class Augmenter:
    """The settings at work on one task's examples."""

    settings: Augment
    special: Collection[int]
    """Tokens that stay: those that the tokenizer adds."""
    hidden: int
    """The token that stands in for a dropped one."""

    def __call__(self, example: Example, random: Generator) -> Example:
        """The example, changed."""
        if "pixels" in example.arrays:
            example = varied(example, self.settings.image_crop, self.settings.image_flip, random)
        return self._read(example, random) if "input_ids" in example.arrays else example

    def _read(self, example: Example, random: Generator) -> Example:
        """The example with other words and boxes."""
        arrays = dict(example.arrays)
        ids_L = arrays["input_ids"]
        stays_L = np.isin(ids_L, list(self.special))
        if "bbox" in arrays:
            arrays["bbox"] = self._moved(arrays["bbox"], stays_L, random)
        if self.settings.word_dropout:
            drops_L = (random.random(len(ids_L)) < self.settings.word_dropout) & ~stays_L
            arrays["input_ids"] = np.where(drops_L, self.hidden, ids_L).astype(ids_L.dtype)
        return replace(example, arrays=arrays)

    def _moved(
        self, boxes_L4: NDArray[np.generic], stays_L: NDArray[np.bool_], random: Generator
    ) -> NDArray[np.generic]:
        """Boxes scaled about the page's middle, shifted and jittered; x0 ≤ x1 and y0 ≤ y1 stay true. Sub-words of one
        box move as one."""
        by, shift, scale = self.settings.box_jitter, self.settings.page_shift, self.settings.page_scale
        if not (by or shift or scale):
            return boxes_L4
        whole_L22 = boxes_L4.astype(np.float64).reshape(-1, 2, 2)
        factor_2 = 1 + random.uniform(-scale, scale, 2)
        offset_2 = random.uniform(-shift, shift, 2)
        moved_L22 = (whole_L22 - EDGE / 2) * factor_2 + EDGE / 2 + offset_2
        starts_L = np.r_[True, np.any(boxes_L4[1:] != boxes_L4[:-1], axis=1)]
        word_L = np.cumsum(starts_L) - 1
        moved_L22 += random.uniform(-by, by, (int(word_L[-1]) + 1, 2, 2))[word_L]
        kept_L4 = np.sort(moved_L22.round().clip(0, EDGE), axis=1).reshape(-1, 4)
        nowhere_L = ~boxes_L4.any(axis=1)  # a question's words
        return np.where((stays_L | nowhere_L)[:, None], boxes_L4, kept_L4).astype(boxes_L4.dtype)
