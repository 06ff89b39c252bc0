"""Boxes of detections: from the model's (centre, size, shares of the image) to corners in pixels of the image.

Shape suffixes: N boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stages.base import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray


def corners(boxes_N4: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(centre x, centre y, width, height) as shares to (x0, y0, x1, y1) in pixels; ``size`` is height and width."""
    centre, half = boxes_N4[:, :2], boxes_N4[:, 2:] * np.float32(0.5)
    shares = np.concatenate([centre - half, centre + half], axis=1)
    return np.asarray(shares * np.array([size[1], size[0]] * 2, np.float32), np.float32)


def objects(
    labels: Sequence[str | None], scores: NDArray[np.float32], boxes: NDArray[np.float32], top_k: int = 0
) -> list[Row]:
    """The column ``objects``: best first (0: all); boxes cut to whole pixels, as transformers' pipelines do."""
    best_first = np.argsort(-scores, kind="stable")[: top_k or None]
    return [
        {"label": labels[int(n)], "score": float(scores[n]), "box": [int(side) for side in boxes[n]]}
        for n in best_first
    ]
