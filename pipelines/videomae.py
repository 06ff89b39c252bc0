"""VideoMAE: a vision transformer over cubes of video (Tong et al. 2022, https://arxiv.org/abs/2203.12602)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.tiny import write_image_processor, write_model
from pipelines.tasks.video_classification import VideoClassification


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001
    """A VideoMAE of two layers, 32 wide, that looks at 4 frames of 32 × 32 pixels."""
    from transformers import VideoMAEConfig

    write_image_processor(folder, "VideoMAEImageProcessorPil", size={"shortest_edge": 32}, crop=32)
    config = VideoMAEConfig(
        image_size=32,
        patch_size=8,
        num_frames=4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=4,  # type: ignore[call-arg]
        initializer_range=0.3,
    )
    write_model(folder, "VideoMAEForVideoClassification", config)


FAMILY = Family(
    summary="classifies videos by 16 frames",
    tasks=(VideoClassification,),
    checkpoints={"": "MCG-NJU/videomae-base-finetuned-kinetics@488eb9a0565f257b32866000305c8178965eb9f6"},
    licence="CC-BY-NC-4.0",
    notice="the published weights are licensed CC BY-NC 4.0: not for commercial use",
    tiny=tiny,
    model_types=("videomae",),
)
