"""Whether two answers are the same: numbers within 1e-4, the levels of a PNG within one, everything else exactly."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

TOLERANCE = 1e-4


def same(ours: object, theirs: object, where: str = "row") -> None:
    """Raises AssertionError that says where they differ."""
    if isinstance(theirs, bytes):
        _same_levels(ours, theirs, where)
    elif isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        assert set(ours) == set(theirs), f"{where}: {sorted(ours)} are not {sorted(theirs)}"
        for name, value in theirs.items():
            same(ours[name], value, f"{where}.{name}")
    elif isinstance(theirs, list | tuple):
        _same_lists(ours, theirs, where)
    elif isinstance(theirs, float):
        near = isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        assert near, f"{where}: {ours} is not {theirs}"
    else:
        assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"


def _same_lists(ours: object, theirs: Any, where: str) -> None:  # noqa: ANN401 - a list or tuple, of anything
    assert isinstance(ours, list | tuple), where
    assert len(ours) == len(theirs), f"{where}: {len(ours)} values are not {len(theirs)}"
    if theirs and isinstance(theirs[0], float):
        assert np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE), where
        return
    for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        same(one, other, f"{where}[{n}]")


def _same_levels(ours: object, theirs: bytes, where: str) -> None:
    from PIL import Image

    assert isinstance(ours, bytes), where
    one, other = (np.asarray(Image.open(io.BytesIO(png)), np.int64) for png in (ours, theirs))
    assert one.shape == other.shape, where
    assert np.abs(one - other).max() <= 1, where
