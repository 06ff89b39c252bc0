"""Text classification: one label of several, several labels, or a number, by the checkpoint's problem type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import TextOptions, TextTask, pair_of, text_of, unbatch
from pipelines.tasks.breakdown import Breakdown
from pipelines.tasks.classification import GOLD, breakdown_of, gold_column, judges, metrics_of, summed_loss, target_of
from pipelines.tasks.scores import classified
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions(TextOptions):
    """Options of classification."""

    top_k: int = 0
    """how many labels ``scores`` holds, the best first; 0 holds all"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 0:
            raise UsageError(f"task.top_k must be 0 or more, not {self.top_k}")


class TextClassification(TextTask):
    """Classifies a text, or a pair of texts."""

    name = "text-classification"
    summary = "one label, several labels or a number for a text or a pair of texts"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ("text_pair",)
    gold: ClassVar[tuple[str, ...]] = GOLD
    writes: ClassVar[tuple[str, ...]] = ("label", "score", "scores")
    options_type = ClassificationOptions
    options: ClassificationOptions
    metric = Metric(name="accuracy")
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

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels``: the number of ``label``, 0 or 1 for each label in ``labels``, or the number ``score``."""
        target = target_of(row, self.config)
        return [replace(one, arrays={**one.arrays, "labels": target}) for one in examples]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy, binary cross entropy or squared error, by the problem type."""
        return summed_loss(outputs.logits, labels, num_items, self.model.config)

    def gold_columns(self) -> tuple[str, ...]:
        """A label, several, or a number."""
        return (gold_column(self.config),)

    def judged_by(self) -> tuple[Metric, ...]:
        """Accuracy and F1; of a regression its squared error."""
        return judges(self.config)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """Accuracy and F1, or for a regression the errors and the correlation."""
        return metrics_of(gold, answers, self.config)

    def breakdown(self, gold: Sequence[Row], answers: Sequence[Row]) -> Breakdown | None:
        """The confusion matrix, or each label's precision and recall."""
        return breakdown_of(gold, answers, self.config)
