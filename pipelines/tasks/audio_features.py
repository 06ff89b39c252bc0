"""Features: a recording as one vector, and one a frame where asked for.

Shape suffixes: B chunks of a batch, T frames, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import unbatch
from pipelines.tasks.hearing import HearingOptions, HearingTask, joined
from stages.base import Row
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class AudioFeatureOptions(HearingOptions):
    """Options of features of recordings."""

    vectors: bool = False
    """give every frame's vector too"""


class AudioFeatures(HearingTask):
    """The last hidden states of a speech model, averaged over time."""

    name = "features"
    summary = "a recording as a vector, and one a frame where asked for"
    writes: ClassVar[tuple[str, ...]] = ("vector", "vectors")
    options_type = AudioFeatureOptions
    options: AudioFeatureOptions
    auto_class = "AutoModel"

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``hidden`` (T, H) of each chunk."""
        return unbatch({"hidden": self.run(batch).last_hidden_state})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector``, and ``vectors`` or null."""
        hidden_TH = joined([np.asarray(one["hidden"], np.float32) for one in outputs], examples, self.ratio)
        vectors = hidden_TH.tolist() if self.options.vectors else None
        return {"vector": hidden_TH.mean(axis=0).tolist(), "vectors": vectors}
