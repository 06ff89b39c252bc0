"""CLIP: images and texts in one space (Radford et al. 2021, https://arxiv.org/abs/2103.00020)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.family import Family
from pipelines.tasks.image_text_features import ImageTextFeatures
from pipelines.tasks.tiny import clip_vocabulary, write_clip_tokenizer, write_image_processor, write_model
from pipelines.tasks.zero_shot_image_classification import ZeroShotImageClassification


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001  both tasks have one model
    """A CLIP of two layers a tower, 32 wide, that looks at 32 × 32 pixels and reads 64 tokens."""
    from transformers import CLIPConfig

    write_clip_tokenizer(folder, max_length=64)
    write_image_processor(folder, "CLIPImageProcessorPil", size={"shortest_edge": 32}, crop=32)
    pieces = clip_vocabulary()
    layers: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_factor": 2.0,
        "initializer_range": 0.3,
        "projection_dim": 32,
    }
    special: dict[str, Any] = {"bos_token_id": pieces["<|startoftext|>"], "eos_token_id": pieces["<|endoftext|>"]}
    config = CLIPConfig(
        text_config={**layers, **special, "vocab_size": len(pieces), "max_position_embeddings": 64, "pad_token_id": 1},
        vision_config={**layers, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    write_model(folder, "CLIPModel", config)


FAMILY = Family(
    summary="two encoders that bring images and texts into one space",
    tasks=(ZeroShotImageClassification, ImageTextFeatures),
    checkpoints={"": "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"},
    licence="MIT",
    tiny=tiny,
    model_types=("clip",),
)
