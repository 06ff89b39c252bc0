"""Audio classification: one label of several, several labels, or a number, by the checkpoint's problem type.

A recording longer than ``chunk_s`` is judged by the mean of its chunks' logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import unbatch
from pipelines.tasks.classification import Classifying
from pipelines.tasks.hearing import HearingOptions, HearingTask
from pipelines.tasks.scores import classified
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class AudioClassificationOptions(HearingOptions):
    """Options of audio classification."""

    top_k: int = 0
    """how many labels ``scores`` holds, the best first; 0 holds all"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 0:
            raise UsageError(f"task.top_k must be 0 or more, not {self.top_k}")


class AudioClassification(Classifying, HearingTask):
    """Classifies a recording."""

    name = "audio-classification"
    summary = "one label, several labels or a number for a recording"
    writes: ClassVar[tuple[str, ...]] = ("label", "score", "scores")
    options_type = AudioClassificationOptions
    options: AudioClassificationOptions
    auto_class = "AutoModelForAudioClassification"

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``logits`` (labels,) of each chunk."""
        return unbatch({"logits": self.run(batch).logits})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``label, score, scores``."""
        logits = np.stack([np.asarray(one["logits"], np.float32) for one in outputs]).mean(axis=0)
        return classified(logits, self.config, self.options.top_k)
