"""What the processes of test_contrastive.py run: one step of contrastive training on each rank's part of the pairs."""

from __future__ import annotations

import torch
from torch.nn.parallel import DistributedDataParallel

from pipelines import Checkpoint, task
from pipelines.contract.rows import picture, words
from stages.base import Row

PAIRS = 10


def pairs() -> list[Row]:
    import random

    rng = random.Random(3)
    return [{"picture": picture(random.Random(n), 4), "text": " ".join(words(rng, 3))} for n in range(PAIRS)]


def made(folder: str, *, lock_image: bool = False):
    kind = task("vision_text_dual_encoder", "features")
    found = kind(Checkpoint(ref="tiny", path=folder, content="0"), kind.options_type(lock_image=lock_image))
    found.load_processor()
    found.load_model(torch.device("cpu"), torch.float32)
    return found


def step(rank: int, folder: str, world: int) -> dict[str, object]:
    """The loss of this rank's pairs (uneven parts) and the gradients that all ranks then have."""
    found, rows = made(folder), pairs()
    ends = [PAIRS * (r + 1) ** 2 // world**2 for r in range(world)]
    mine = rows[ends[rank - 1] if rank else 0 : ends[rank]]
    batch = dict(found.collate([one for row in mine for one in found.encode_labels(row, found.encode(row))]))
    labels = batch.pop("labels")
    model = DistributedDataParallel(found.model) if world > 1 else found.model
    loss = found.loss(model(**batch), labels, torch.tensor(PAIRS))
    (loss * world).backward()
    gradients = {name: one.grad.clone() for name, one in found.model.named_parameters() if one.grad is not None}
    return {"loss": loss.item(), "gradients": gradients}
