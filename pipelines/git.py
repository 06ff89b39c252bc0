"""GIT: captions by one decoder over image and words (Wang et al. 2022, https://arxiv.org/abs/2205.14100)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.family import Family
from pipelines.tasks.image_captioning import CausalCaptioning
from pipelines.tasks.tiny import SPECIAL, vocabulary, write_image_processor, write_model, write_tokenizer


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001
    """A GIT of two layers a part, 32 wide, that looks at 32 × 32 pixels and stops after 16 tokens."""
    from transformers import GitConfig

    write_tokenizer(folder, max_length=64)
    write_image_processor(folder, "CLIPImageProcessorPil", size={"shortest_edge": 32}, crop=32)
    layers: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_range": 0.3,
    }
    config = GitConfig(
        **layers,
        vision_config={**layers, "image_size": 32, "patch_size": 8},
        vocab_size=len(vocabulary()),
        max_position_embeddings=64,
        pad_token_id=SPECIAL.index("[PAD]"),
        bos_token_id=SPECIAL.index("[CLS]"),
        eos_token_id=SPECIAL.index("[SEP]"),
    )
    write_model(folder, "GitForCausalLM", config, max_new_tokens=16)


FAMILY = Family(
    summary="captions by one decoder over image and words",
    tasks=(CausalCaptioning,),
    checkpoints={"": "microsoft/git-base@main"},
    licence="MIT",
    tiny=tiny,
    model_types=("git",),
)
