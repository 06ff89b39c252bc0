"""Blocks embedded anew while the embedder learns, so that retrieval follows it (Guu et al. 2020, section 3.3).

The paper embeds in processes beside the training, which go on with vectors that are some hundred steps old. Here the
ranks stop and share the work: every rank embeds its part of the blocks, and all get the vectors of all.

N blocks, P numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from stages.batches import cut
from stages.errors import UsageError

if TYPE_CHECKING:
    from pipelines.realm.reader import RealmForOpenQA
    from pipelines.realm.settings import RealmTokenizer

BUDGET = 8192
"""Padded tokens of a batch."""
CHUNK = 10_000
"""Blocks that are held as tokens at once."""


def refresh(model: RealmForOpenQA, tokenizer: RealmTokenizer, blocks: Sequence[str | None], limit: int) -> None:
    """Gives the model the vectors (N, P) of its blocks as its embedder makes them now. Collective.

    A block is cut at ``limit`` tokens; one that is None has no vector: zeros. Raises UsageError for a model that is
    sharded over the ranks.
    """
    from torch.distributed.fsdp import FSDPModule

    if isinstance(model, FSDPModule):
        raise UsageError("task.refresh_steps needs the whole model on every worker: leave out train.fsdp")
    there = [number for number, block in enumerate(blocks) if block is not None]
    device = next(model.parameters()).device
    vectors_NP = torch.zeros(len(blocks), model.config.retriever_proj_size, device=device)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    learning = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, len(there), CHUNK):
            some = there[start : start + CHUNK]
            texts = [str(blocks[number]) for number in some]
            ids = tokenizer(texts, truncation=True, max_length=limit, verbose=False)["input_ids"]
            for batch in cut([len(each) for each in ids], budget=BUDGET)[rank::world]:
                inputs = tokenizer.pad({"input_ids": [ids[n] for n in batch]}, return_tensors="pt").to(device)
                vectors_NP[[some[n] for n in batch]] = model.embedder(**inputs).projected_score.float()
    model.train(learning)
    if world > 1:
        dist.all_reduce(vectors_NP)  # each row is of one rank, and 0 elsewhere
    model.block_emb = vectors_NP.to(model.block_emb.device, model.block_emb.dtype)
    model.config.num_block_records = len(blocks)
