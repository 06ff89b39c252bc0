"""Video classification: one label of several, several labels, or a number, by the checkpoint's problem type.

Several clips of a video are judged by the mean of their logits.

Shape suffixes: B clips of a batch, F frames of a clip, Y and X rows and columns of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from pipelines.family import Batch, Options
from pipelines.tasks.base_text import unbatch
from pipelines.tasks.classification import Classifying
from pipelines.tasks.padding import labels_of
from pipelines.tasks.scores import classified
from pipelines.tasks.seeing import SeeingTask, group_of, patch_of
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output
from stages.takes import Clips, Takes


@dataclass(frozen=True, kw_only=True)
class VideoClassificationOptions(Options):
    """Options of video classification."""

    num_frames: int = 0
    """frames of a clip; 0 takes as many as the checkpoint was trained on"""
    sample_rate: int = 4
    """one frame of so many is taken; closer together where a video is too short"""
    num_clips: int = 1
    """clips of a video, evenly spread, whose answers are averaged; a single one lies in its middle"""
    top_k: int = 0
    """how many labels ``scores`` holds, the best first; 0 holds all"""

    def __post_init__(self) -> None:
        for name, least in (("num_frames", 0), ("sample_rate", 1), ("num_clips", 1), ("top_k", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"task.{name} must be {least} or more, not {getattr(self, name)}")


class VideoClassification(Classifying, SeeingTask):
    """Classifies a video by some of its frames."""

    name = "video-classification"
    summary = "one label, several labels or a number for a video"
    reads: ClassVar[tuple[str, ...]] = ("clips",)
    writes: ClassVar[tuple[str, ...]] = ("label", "score", "scores")
    options_type = VideoClassificationOptions
    options: VideoClassificationOptions
    auto_class = "AutoModelForVideoClassification"

    def load_processor(self) -> None:
        """Loads the configuration and the image processor. Raises UsageError for frames that the model cannot take."""
        super().load_processor()
        config: Any = self.config
        self.frames = self.options.num_frames or int(config.num_frames)
        if hasattr(config, "tubelet_size") and self.frames != config.num_frames:
            raise UsageError(f"task.num_frames must be {config.num_frames}, as this checkpoint was trained")

    def takes(self) -> Takes:
        """Clips of the size of its image processor."""
        options = self.options
        return Clips(view=self.sight.view, frames=self.frames, every=options.sample_rate, clips=options.num_clips)

    def encode(self, row: Row) -> list[Example]:
        """One example a clip: ``pixels`` (F·Y·X·3,) and ``size`` (3,)."""
        value = row.get("clips")
        if not isinstance(value, dict):
            raise RowError(Code.ENCODE_FAILED, "the row has no video")
        clips, *size = (cast("int", value[name]) for name in ("clips", "count", "height", "width"))
        pixels = np.frombuffer(cast("bytes", value["frames"]), np.uint8)
        if len(pixels) != clips * math.prod(size) * 3:
            raise RowError(Code.ENCODE_FAILED, f"the row's clips are not {clips} of {size[0]} frames")
        config: Any = self.config
        patches = math.prod(math.ceil(side / patch_of(config)) for side in size[1:])
        tokens = math.ceil(size[0] / getattr(config, "tubelet_size", 1)) * patches
        shape = np.array(size, np.int32)
        group = group_of(*size)
        return [
            Example(arrays={"pixels": clip, "size": shape}, length=tokens, group=group)
            for clip in pixels.reshape(clips, -1)
        ]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``pixel_values`` (B, F, 3, Y, X)."""
        frames, height, width = (int(side) for side in examples[0].arrays["size"])
        clips = np.concatenate([one.arrays["pixels"].reshape(frames, height, width, 3) for one in examples])
        values = self.sight.tensor(list(clips.astype(np.uint8, copy=False)))
        return {"pixel_values": values.reshape(len(examples), frames, *values.shape[1:]), **labels_of(examples)}

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``logits`` (labels,) of each clip."""
        return unbatch({"logits": self.model(pixel_values=self.as_model(batch["pixel_values"])).logits})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``label, score, scores``."""
        logits = np.stack([np.asarray(one["logits"], np.float32) for one in outputs]).mean(axis=0)
        return classified(logits, self.config, self.options.top_k)
