"""OWL-ViT: finds in images what words or another image describe (Minderer et al. 2022,
https://arxiv.org/abs/2205.06230)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.family import Family
from pipelines.tasks.image_guided_detection import ImageGuidedDetection
from pipelines.tasks.tiny import clip_vocabulary, write_clip_tokenizer, write_image_processor, write_model
from pipelines.tasks.zero_shot_object_detection import ZeroShotObjectDetection


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001  both tasks have one model
    """An OWL-ViT of two layers a tower, 32 wide, that looks at 32 × 32 pixels and reads 16 tokens."""
    from transformers import OwlViTConfig

    write_clip_tokenizer(folder, max_length=16)
    write_image_processor(folder, "OwlViTImageProcessorPil", size={"height": 32, "width": 32})
    pieces = clip_vocabulary()
    layers: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_factor": 2.0,
        "initializer_range": 0.3,
    }
    special: dict[str, Any] = {"bos_token_id": pieces["<|startoftext|>"], "eos_token_id": pieces["<|endoftext|>"]}
    config = OwlViTConfig(
        text_config={**layers, **special, "vocab_size": len(pieces), "max_position_embeddings": 16, "pad_token_id": 0},
        vision_config={**layers, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    write_model(folder, "OwlViTForObjectDetection", config)


FAMILY = Family(
    summary="finds in images what is named in any words, or shown by another image",
    tasks=(ZeroShotObjectDetection, ImageGuidedDetection),
    checkpoints={"": "google/owlvit-base-patch32@cbc355fb364588351c5d51c7f74465e8e7ec6f72"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("owlvit",),
)
