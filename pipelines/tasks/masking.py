"""Masked language modelling: logits where masks are, and hiding tokens in training.

L tokens of the longest example, B examples, M masks of a batch, H hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.tasks.padding import IGNORED
from stages.examples import Example

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
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


def mask_some(example: Example, random: Generator, *, share: float, mask_id: int, vocabulary: int) -> Example:
    """The example with some tokens hidden, and ``labels`` for these alone.

    Of the tokens that have a label, ``share`` are chosen, at least one; of these 80 % become the mask, 10 % a random
    piece, 10 % stay (Devlin et al. 2018, section 3.1).
    """
    ids_L, labels_L = example.arrays["input_ids"], example.arrays["labels"]
    may_L = np.flatnonzero(labels_L != IGNORED)
    wanted = min(len(may_L), max(1, random.binomial(len(may_L), share)))
    chosen_M = random.permutation(may_L)[:wanted]
    dice_M, pieces_M = random.random(wanted), random.integers(vocabulary, size=wanted)
    hidden_L, kept_L = ids_L.copy(), np.full_like(labels_L, IGNORED)
    hidden_L[chosen_M] = np.where(dice_M < 0.8, mask_id, np.where(dice_M < 0.9, pieces_M, ids_L[chosen_M]))
    kept_L[chosen_M] = labels_L[chosen_M]
    return replace(example, arrays={**example.arrays, "input_ids": hidden_L, "labels": kept_L})
