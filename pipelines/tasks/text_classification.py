"""Text classification: one label of several, several labels, or a number, by the checkpoint's problem type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import TextOptions, TextTask, pair_of, text_of, unbatch
from pipelines.tasks.classification import Classifying
from pipelines.tasks.scores import classified
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions(TextOptions):
    """Options of classification."""

    top_k: int = 0
    """how many labels ``scores`` holds, the best first; 0 holds all"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 0:
            raise UsageError(f"task.top_k must be 0 or more, not {self.top_k}")


class TextClassification(Classifying, TextTask):
    """Classifies a text, or a pair of texts."""

    name = "text-classification"
    summary = "one label, several labels or a number for a text or a pair of texts"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ("text_pair",)
    writes: ClassVar[tuple[str, ...]] = ("label", "score", "scores")
    options_type = ClassificationOptions
    options: ClassificationOptions
    auto_class = "AutoModelForSequenceClassification"

    def encode(self, row: Row) -> list[Example]:
        """One example: the text, cut at the limit."""
        return [self.example(self.tokenise(text_of(row), pair_of(row)))]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Logits (labels,) of each example."""
        return unbatch({"logits": self.run(batch).logits})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``label, score, scores``."""
        return classified(np.asarray(outputs[0]["logits"], np.float32), self.config, self.options.top_k)
