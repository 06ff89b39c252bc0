"""The BERT inside architectures of our own, by the sizes of their configuration."""

from __future__ import annotations

from typing import Any

from transformers import BertConfig, PreTrainedConfig

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
)
"""What such a configuration and BERT's own both have."""


def bert_config(config: PreTrainedConfig, *more: str) -> BertConfig:
    """A BERT of these sizes, with the same attention; ``more`` names further values to take over."""
    sizes: dict[str, Any] = {name: getattr(config, name) for name in (*SIZES, *more)}
    sizes["attn_implementation"] = config._attn_implementation
    return BertConfig(**sizes)
