"""Texts to learn to write, as an encoder-decoder or a decoder reads them: each token sees those before it.

B examples, L tokens of the longest text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.tasks.padding import pad_one
from stages.examples import Example

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel


def edges(model: PreTrainedModel) -> tuple[int, int]:
    """The token that what is written begins with, and the one that fills up."""
    own: Any = model.generation_config
    start = own.decoder_start_token_id if model.config.is_encoder_decoder else own.bos_token_id
    first = own.bos_token_id if start is None else start
    return int(first or 0), int(own.pad_token_id or 0)


def last_of(own: GenerationConfig) -> int:
    """The token that ends a text."""
    ends = own.eos_token_id
    return int(ends[0] if isinstance(ends, list) else ends or 0)


def shifted(examples: Sequence[Example], start: int, filling: int) -> torch.Tensor:
    """``labels`` one place later, behind the first token: (B, L)."""
    first = np.array([start], np.int32)
    return pad_one([np.concatenate([first, one.arrays["labels"][:-1]]) for one in examples], filling)
