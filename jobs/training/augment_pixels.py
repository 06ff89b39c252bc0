"""What training changes at random in encoded pictures and clips: which part of them is seen, and from which side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from stages.examples import Example


def varied(example: Example, crop: float, flip: float, random: Generator) -> Example:
    """A picture (``size`` (2,)) or clip (``size`` (3,)) whose sides are cut by up to the share ``crop``, somewhere, and
    scaled to what they were; mirrored with the probability ``flip``. All frames of a clip alike."""
    height, width = (int(side) for side in example.arrays["size"][-2:])
    frames = example.arrays["pixels"].astype(np.uint8, copy=False).reshape(-1, height, width, 3)
    if crop:
        frames = _cut(frames, random.uniform(0, crop), random)
    if flip and random.random() < flip:
        frames = frames[:, :, ::-1]
    return replace(example, arrays={**example.arrays, "pixels": frames.reshape(-1)})


def _cut(frames: NDArray[np.uint8], share: float, random: Generator) -> NDArray[np.uint8]:
    """One part of all frames (F, height, width, 3), scaled up to their size."""
    height, width = frames.shape[1:3]
    high, wide = (max(round(side * (1 - share)), 1) for side in (height, width))
    top, left = (int(random.integers(0, whole - part + 1)) for whole, part in ((height, high), (width, wide)))
    box = (left, top, left + wide, top + high)
    scaled = [
        Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR, box=box)
        for one in np.ascontiguousarray(frames)
    ]
    return np.stack([np.asarray(one) for one in scaled])
