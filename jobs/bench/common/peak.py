"""What a device's matrix units give at best, measured: the rate of one large square product."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SIDES = {"cuda": 8192, "cpu": 2048}
"""Rows and columns of the factors: large enough to fill the device, by its kind."""
_WARM, _TIMES = 3, 10


def matrix_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a square product of random factors; the best of ten."""
    import torch

    side = SIDES[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_WARM + _TIMES):
        _wait(device)
        start = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return float(2 * side**3 / min(seconds[_WARM:]))


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
