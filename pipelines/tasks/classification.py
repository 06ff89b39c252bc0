"""What tasks that classify share in training: gold columns to targets, the loss, the metrics, by the problem type.

| problem type | gold column | target |
|---|---|---|
| single_label_classification | ``label``: a name, or a number from 0 | its number, (1,) |
| multi_label_classification | ``labels``: names | 0 or 1 for each label, (C,) |
| regression | ``score`` | the number, (1,) |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipelines.family import Metric, Task
from pipelines.tasks.breakdown import Breakdown, confusion_matrix, label_table
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.scores import label_names, problem_type
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig

GOLD = ("label", "labels", "score")
"""Columns that may hold the right answer."""


class Classifying(Task):
    """Put before a task that answers with logits (B, C), it adds the training half; every example of a row (a text, a
    clip, a chunk) gets the row's label."""

    gold: ClassVar[tuple[str, ...]] = GOLD
    metric = Metric(name="accuracy")
    config: PreTrainedConfig

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


def gold_column(config: PreTrainedConfig) -> str:
    """The one of them that a checkpoint is trained on."""
    columns = {"regression": "score", "multi_label_classification": "labels"}
    return columns.get(problem_type(config), "label")


def target_of(row: Row, config: PreTrainedConfig) -> NDArray[np.generic]:
    """The row's gold answer as an array. Raises RowError(ENCODE_FAILED) where it has none or an unknown one."""
    kind = problem_type(config)
    if kind == "regression":
        score = row.get("score")
        if not isinstance(score, (int, float)) or config.num_labels != 1:
            raise RowError(Code.ENCODE_FAILED, "a regression is trained on one number in column 'score'")
        return np.array([score], np.float32)
    names = label_names(config)
    if kind == "multi_label_classification":
        given = row.get("labels")
        if not isinstance(given, list):
            raise RowError(Code.ENCODE_FAILED, "several labels a row are trained on a list in column 'labels'")
        wanted = {_number(label, names) for label in given}
        return np.array([number in wanted for number in range(len(names))], np.float32)
    return np.array([_number(row.get("label"), names)], np.int32)


def _number(label: object, names: Sequence[str]) -> int:
    """A label's number; ``"2"`` and 2 are numbers unless a label has that name."""
    if label in names:
        return names.index(str(label))
    if str(label).isdecimal() and int(str(label)) < len(names):
        return int(str(label))
    raise RowError(Code.ENCODE_FAILED, f"the checkpoint knows no label {label!r}; it has: {', '.join(names)}")


def summed_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    num_items: torch.Tensor | None,
    config: PreTrainedConfig,
) -> torch.Tensor:
    """Cross entropy, binary cross entropy or squared error of (B, C) logits, summed, over ``num_items``.

    ``num_items`` counts the elements of the labels: one an example, or one a label of a multi-label example.
    """
    import torch.nn.functional as fn

    kind = problem_type(config)
    if kind == "single_label_classification":
        return cross_entropy(logits, labels.flatten(), num_items)
    count = labels.numel() if num_items is None else num_items
    summed = fn.mse_loss if kind == "regression" else fn.binary_cross_entropy_with_logits
    return summed(logits.float(), labels.float(), reduction="sum") / count


def judges(config: PreTrainedConfig) -> tuple[Metric, ...]:
    """What ``metrics_of`` gives, first what chooses the best model."""
    if problem_type(config) == "regression":
        return (Metric(name="mean_squared_error", greater_is_better=False), Metric(name="r2"), Metric(name="pearson"))
    return (Metric(name="accuracy"), Metric(name="f1"))


def metrics_of(gold: Sequence[Row], answers: Sequence[Row], config: PreTrainedConfig) -> dict[str, float]:
    """``accuracy`` and ``f1`` (macro; micro where rows have several labels), or a regression's errors."""
    from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, r2_score

    kind, names = problem_type(config), label_names(config)
    right = np.stack([target_of(row, config) for row in gold])
    if kind == "regression":
        ours = np.array([[row["score"]] for row in answers])
        return {
            "mean_squared_error": float(mean_squared_error(right, ours)),
            "r2": float(r2_score(right, ours)) if len(right) > 1 else 0.0,
            "pearson": _pearson(right[:, 0].astype(np.float64), ours[:, 0]),
        }
    if kind == "single_label_classification":
        chosen = np.array([[names.index(str(row["label"]))] for row in answers])
        average = "macro"
    else:
        chosen, average = np.stack([_chosen(row, names) for row in answers]), "micro"
    f1 = f1_score(right, chosen, average=average, zero_division=0)
    return {"accuracy": float(accuracy_score(right, chosen)), "f1": float(f1)}


def _pearson(right_N: NDArray[np.float64], ours_N: NDArray[np.float64]) -> float:
    """The correlation; 0 where one of the two does not vary."""
    if len(right_N) < 2 or not right_N.std() or not ours_N.std():
        return 0.0
    return float(np.corrcoef(right_N, ours_N)[0, 1])


def breakdown_of(gold: Sequence[Row], answers: Sequence[Row], config: PreTrainedConfig) -> Breakdown | None:
    """The confusion matrix; of rows with several labels each label's precision and recall; None for numbers."""
    kind, names = problem_type(config), label_names(config)
    if kind == "regression":
        return None
    right = [target_of(row, config) for row in gold]
    if kind == "single_label_classification":
        ours = [names.index(str(row["label"])) for row in answers]
        return confusion_matrix([int(one[0]) for one in right], ours, names)
    chosen = [_chosen(row, names) for row in answers]
    items = [
        {(names[label], row) for row, one in enumerate(some) for label in np.flatnonzero(one).tolist()}
        for some in (right, chosen)
    ]
    return label_table(items[0], items[1], of="labels")


def _chosen(row: Row, names: Sequence[str]) -> NDArray[np.float32]:
    """1 for each label that is more likely than not."""
    likely = {each["label"] for each in cast("list[Row]", row["scores"]) if cast("float", each["score"]) > 0.5}
    return np.array([name in likely for name in names], np.float32)
