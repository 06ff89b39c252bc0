"""GLPN: depth of indoor and street scenes, in metres (Kim et al. 2022, https://arxiv.org/abs/2201.07436)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.depth_estimation import DepthEstimation
from pipelines.tasks.tiny import write_image_processor, write_model


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001
    """A GLPN of two stages."""
    from transformers import GLPNConfig

    write_image_processor(folder, "GLPNImageProcessorPil")
    config = GLPNConfig(
        num_encoder_blocks=4,
        depths=(1, 1, 1, 1),
        hidden_sizes=(8, 8, 16, 16),
        num_attention_heads=(1, 1, 2, 2),
        mlp_ratios=(2, 2, 2, 2),
        decoder_hidden_size=8,
        initializer_range=0.3,
    )
    write_model(folder, "GLPNForDepthEstimation", config)


FAMILY = Family(
    summary="depth in metres from one image",
    tasks=(DepthEstimation,),
    checkpoints={"": "vinvino02/glpn-nyu@cb8ce03174424af9a3315da175ead88667f0578c"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("glpn",),
)
