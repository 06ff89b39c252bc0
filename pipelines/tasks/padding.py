"""Examples of like length to padded tensors, and outputs back without the padding.

Shape suffixes: B examples of a batch, L the longest length in it, K numbers a token (4 for boxes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.family import IGNORED
from stages.examples import Example

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["IGNORED", "attention_mask", "pad", "pad_one"]


def pad_one(parts: Sequence[NDArray[np.generic]], value: float) -> torch.Tensor:
    """Arrays (length,) or (length, K) to one tensor (B, L) or (B, L, K): int64, or float32 for floats."""
    import torch

    dtype = np.float32 if np.issubdtype(parts[0].dtype, np.floating) else np.int64
    longest = max(len(part) for part in parts)
    padded = np.full((len(parts), longest, *parts[0].shape[1:]), value, dtype=dtype)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(padded)


def pad(examples: Sequence[Example], names: Sequence[str], values: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """The arrays ``names`` of the examples as padded tensors; what is not in ``values`` is padded with 0."""
    return {name: pad_one([one.arrays[name] for one in examples], values.get(name, 0)) for name in names}


def labels_of(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """``labels`` (B, L) of examples that have them, for training; else nothing."""
    return pad(examples, ["labels"], {"labels": IGNORED}) if "labels" in examples[0].arrays else {}


def attention_mask(examples: Sequence[Example]) -> torch.Tensor:
    """1 for real tokens, 0 for padding: (B, L) int64."""
    import torch

    lengths_B = torch.tensor([one.length for one in examples])
    return (torch.arange(int(lengths_B.max()))[None, :] < lengths_B[:, None]).long()
