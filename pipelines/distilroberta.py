"""DistilRoBERTa: a RoBERTa of half the layers, distilled from it (Sanh et al. 2019, https://arxiv.org/abs/1910.01108).

Any masked language model that transformers knows works in its place.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.block_masked_lm import BlockMaskedLM
from pipelines.tasks.tiny import write_bpe_tokenizer, write_model


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001 - it has one task
    """A RoBERTa of two layers, 32 wide, that takes 64 tokens; positions count from the padding's number on."""
    from transformers import RobertaConfig

    config = RobertaConfig(
        vocab_size=write_bpe_tokenizer(folder, max_length=64),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        initializer_range=0.3,
    )
    write_model(folder, "RobertaForMaskedLM", config)


FAMILY = Family(
    summary="small encoder of English text that fills masks; fine-tuned on blocks of joined texts",
    tasks=(BlockMaskedLM,),
    checkpoints={"": "distilbert/distilroberta-base@fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b"},
    licence="Apache-2.0",
    tiny=tiny,
)
