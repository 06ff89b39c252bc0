"""DPT: depth from a vision transformer (Ranftl et al. 2021, https://arxiv.org/abs/2103.13413)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.depth_estimation import DepthEstimation
from pipelines.tasks.tiny import write_image_processor, write_model


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001
    """A DPT of four layers, 32 wide, that looks at 32 × 32 pixels."""
    from transformers import DPTConfig

    write_image_processor(folder, "DPTImageProcessorPil", size={"height": 32, "width": 32})
    config = DPTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        backbone_out_indices=(0, 1, 2, 3),
        neck_hidden_sizes=(8, 8, 16, 16),
        reassemble_factors=(4, 2, 1, 0.5),
        fusion_hidden_size=16,
        initializer_range=0.1,
    )
    write_model(folder, "DPTForDepthEstimation", config)


FAMILY = Family(
    summary="relative depth from one image: larger is nearer",
    tasks=(DepthEstimation,),
    checkpoints={"": "Intel/dpt-large@main"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("dpt",),
)
