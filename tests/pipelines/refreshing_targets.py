"""What the processes of test_realm.py run: blocks embedded anew by several ranks."""

from __future__ import annotations

import torch

from pipelines import Checkpoint, task


def embedded(rank: int, folder: str) -> torch.Tensor:
    """The blocks' vectors after a step at which they are embedded."""
    kind = task("realm", "open-question-answering")
    options = kind.options_type(refresh_steps=5, allow_random_head=True)
    found = kind(Checkpoint(ref="tiny", path=folder, content="0"), options)
    found.load_processor()
    found.load_model(torch.device("cpu"), torch.float32)
    found.model.block_emb.zero_()
    found.model.train()
    found.keep_up(10)
    assert found.model.training
    return found.model.block_emb.clone()
