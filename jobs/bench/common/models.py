"""BERT-base and LayoutLM-base with random weights: speed does not depend on what they have learned. No hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.family import Checkpoint
from pipelines.tasks.tiny import write_model, write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedConfig

MAX_LENGTH = 512


def bert_base(folder: Path) -> Checkpoint:
    """BERT-base (12 layers, 768 wide, 512 tokens) for text classification, with a small vocabulary's tokenizer."""
    from transformers import BertConfig

    return _write(folder, "BertForSequenceClassification", BertConfig())


def layoutlm_base(folder: Path) -> Checkpoint:
    """LayoutLM-base for questions."""
    from transformers import LayoutLMConfig

    return _write(folder, "LayoutLMForQuestionAnswering", LayoutLMConfig())


def _write(folder: Path, model_class: str, config: PreTrainedConfig) -> Checkpoint:
    folder.mkdir(parents=True)
    write_tokenizer(folder, max_length=MAX_LENGTH)
    write_model(folder, model_class, config)
    return Checkpoint(ref=str(folder), path=str(folder), content="")


def flops(folder: Path, lengths: Iterable[int]) -> int:
    """Floating-point operations of one forward pass over sequences of these lengths, padding not counted.

    Per token and layer 8H² + 4HI for the projections and the two feed-forward products, and 4·L·H for attention
    (scores and weighted sum), each multiply-add counted as two; H hidden size, I intermediate size, L length.
    Embeddings, norms and heads are left out: below one per cent.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    wide, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return sum(layers * length * (8 * wide**2 + 4 * wide * inner + 4 * length * wide) for length in lengths)
