"""TimeSformer: attention over time, then over space (Bertasius et al. 2021, https://arxiv.org/abs/2102.05095)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.tiny import write_image_processor, write_model
from pipelines.tasks.video_classification import VideoClassification


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001
    """A TimeSformer of two layers, 32 wide, that looks at 4 frames of 32 × 32 pixels."""
    from transformers import TimesformerConfig

    write_image_processor(folder, "VideoMAEImageProcessorPil", size={"shortest_edge": 32}, crop=32)
    config = TimesformerConfig(
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
    write_model(folder, "TimesformerForVideoClassification", config)


FAMILY = Family(
    summary="classifies videos by 8 frames",
    tasks=(VideoClassification,),
    checkpoints={"": "facebook/timesformer-base-finetuned-k400@8aaf40ea7d3d282dcb0a5dea01a198320d15d6c0"},
    licence="CC-BY-NC-4.0",
    notice="the published weights are licensed CC BY-NC 4.0: not for commercial use",
    tiny=tiny,
    model_types=("timesformer",),
)
