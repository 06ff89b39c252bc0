"""Dual encoders of any image tower and any text tower, such as ViT and BERT (Zhai et al. 2021, LiT,
https://arxiv.org/abs/2111.07991)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.family import Family
from pipelines.tasks.composing import dual_encoder
from pipelines.tasks.image_text_features import ContrastiveFeatures
from pipelines.tasks.tiny import vocabulary, write_image_processor, write_model, write_tokenizer
from pipelines.tasks.zero_shot_image_classification import ZeroShotImageClassification


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001  both tasks have one model
    """A ViT and a BERT of two layers, 32 wide, that look at 32 × 32 pixels and read 64 tokens."""
    from transformers import BertConfig, VisionTextDualEncoderConfig, ViTConfig

    write_tokenizer(folder, max_length=64)
    write_image_processor(folder, "ViTImageProcessorPil", size={"height": 32, "width": 32})
    layers: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_range": 0.3,
    }
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**layers, image_size=32, patch_size=8),
        BertConfig(**layers, vocab_size=len(vocabulary()), max_position_embeddings=64),
        projection_dim=32,
    )
    write_model(folder, "VisionTextDualEncoderModel", config)


FAMILY = Family(
    summary="an image tower and a text tower of any kind, brought into one space by contrastive training",
    tasks=(ZeroShotImageClassification, ContrastiveFeatures),
    checkpoints={"": "clip-italian/clip-italian@main"},
    licence="GPL-3.0",
    tiny=tiny,
    build=dual_encoder,
    model_types=("vision-text-dual-encoder",),
)
