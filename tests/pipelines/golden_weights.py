"""Weights that are drawn by their names, so that golden numbers need none stored (tests/goldens/layoutlmv2)."""

from __future__ import annotations

import math
import zlib

import torch

SEED = 20240611


@torch.no_grad()
def draw_weights(model: torch.nn.Module) -> None:
    """Draws every float entry of ``state_dict`` anew; each depends on its name and shape alone."""
    for name, entry in model.state_dict().items():
        if entry.is_floating_point():
            entry.copy_(_drawn(name, entry.shape))


def _drawn(name: str, shape: torch.Size) -> torch.Tensor:
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) ^ SEED) & 0xFFFFFFFF)
    last = name.rpartition(".")[2]
    if last == "running_var":
        return 1 + 0.1 * torch.rand(shape, generator=generator)
    normal = torch.randn(shape, generator=generator)
    if last == "running_mean" or last.endswith("bias"):
        return 0.02 * normal
    if len(shape) == 1:
        return 1 + 0.1 * normal if last == "weight" else 0.02 * normal
    return normal / math.sqrt(math.prod(shape[1:]))
