"""A part of a checkpoint made of two."""

from __future__ import annotations

from pathlib import Path

from pipelines.tasks.tiny import write_image_processor, write_model


def write_vit(folder: Path) -> Path:
    """A ViT of one layer, 16 wide, that looks at 32 × 32 pixels."""
    from transformers import ViTConfig

    write_image_processor(folder, "ViTImageProcessorPil", size={"height": 32, "width": 32})
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    write_model(folder, "ViTModel", ViTConfig(**layers, image_size=32, patch_size=8, initializer_range=0.3))
    return folder
