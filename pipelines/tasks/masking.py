"""Masked language modelling on the tensors' side: logits where masks are, and hiding tokens in training.

L tokens of the longest example, B examples, M masks of a batch, H hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.padding import IGNORED
from stages.examples import Example

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@contextlib.contextmanager
def logits_at(
    model: PreTrainedModel,
    examples: Sequence[Example],
    *,
    places: str = "masks",
    head: torch.nn.Module | None = None,
) -> Iterator[None]:
    """Within it, the model's vocabulary projection sees only the tokens at ``masks``, so its logits are (M, V).

    The projection is a quarter of BERT-base's work and, over all tokens of a batch, half a gigabyte of logits.
    ``places`` names another array of positions, for another ``head``.
    """
    import torch

    example_M = torch.tensor(np.repeat(np.arange(len(examples)), [len(one.arrays[places]) for one in examples]))
    position_M = torch.tensor(np.concatenate([one.arrays[places] for one in examples]).astype(np.int64))

    def only_masks(_module: torch.nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_BLH = given[0]
        return (hidden_BLH[example_M.to(hidden_BLH.device), position_M.to(hidden_BLH.device)],)

    projection = head or model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert projection is not None, f"{type(model).__name__} has no vocabulary projection"
    hook = projection.register_forward_pre_hook(only_masks)
    try:
        yield
    finally:
        hook.remove()


def mask_some(batch: Batch, *, share: float, mask_id: int, vocabulary: int) -> Batch:
    """``input_ids`` with some tokens hidden, and ``labels`` for these alone; drawn from torch's generator.

    Of the tokens that have a label, ``share`` are chosen; of these 80 % become the mask, 10 % a random piece, 10 % stay
    (Devlin et al. 2018, section 3.1).
    """
    import torch

    ids_BL, labels_BL = batch["input_ids"], batch["labels"]
    chosen_BL = (torch.rand(ids_BL.shape) < share) & (labels_BL != IGNORED)
    dice_BL = torch.rand(ids_BL.shape)
    random_BL = torch.randint(vocabulary, ids_BL.shape)
    hidden_BL = torch.where(dice_BL < 0.8, mask_id, torch.where(dice_BL < 0.9, random_BL, ids_BL))
    return {
        "input_ids": torch.where(chosen_BL, hidden_BL, ids_BL),
        "labels": torch.where(chosen_BL, labels_BL, IGNORED),
    }
