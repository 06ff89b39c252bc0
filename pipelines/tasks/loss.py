"""Losses as sums over a global count, so that accumulating small batches, or adding workers, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.tasks.padding import IGNORED

if TYPE_CHECKING:
    import torch


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:
    """Cross entropy of ``logits`` (..., C) against ``labels`` (...), summed and divided by ``num_items``.

    ``num_items`` counts labelled items of the whole step, over all batches that it accumulates and all workers; None
    takes those of this batch. Labels that are IGNORED do not count.
    """
    from torch.nn.functional import cross_entropy as summed

    total = summed(logits.float().flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    count = (labels != IGNORED).sum().clamp(min=1) if num_items is None else num_items
    return total / count
