"""Rows of all workers of a training, for losses in which an example stands against the others of its step.

B rows of this worker's batch, N of all workers' batches, P numbers of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def gathered(rows_BP: torch.Tensor) -> tuple[torch.Tensor, int]:
    """All workers' rows (N, P), with their gradients, and where this worker's begin; its own alone outside of training
    with several."""
    import torch
    import torch.distributed as workers
    from torch.nn.functional import pad

    if not (workers.is_available() and workers.is_initialized() and workers.get_world_size() > 1):
        return rows_BP, 0
    from torch.distributed.nn.functional import all_gather

    mine = torch.tensor([len(rows_BP)], device=rows_BP.device)
    told = [torch.zeros_like(mine) for _ in range(workers.get_world_size())]
    workers.all_gather(told, mine)
    sizes = [int(size) for size in told]
    padded_SP = pad(rows_BP, (0, 0, 0, max(sizes) - len(rows_BP)))
    # Named, because its default is the group that there was when torch's module was imported.
    parts = all_gather(padded_SP, group=workers.group.WORLD)  # type: ignore[no-untyped-call]
    whole_NP = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
    return whole_NP, sum(sizes[: workers.get_rank()])
