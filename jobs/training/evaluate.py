"""A checkpoint judged on rows with right answers: by what it answers, as ``manta run`` would, and by its loss."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from jobs.training.encode import examples_of
from pipelines import Task
from pipelines.checkpoint import resolve
from pipelines.family import Batch
from pipelines.tasks.breakdown import Breakdown
from stages.base import Row
from stages.batches import cut
from stages.errors import Failure
from stages.examples import Example
from stages.hardware import pick_device
from stages.predictor import Predictor
from stages.settings import Predict

BUDGET = 4096
"""Padded tokens of a batch whose loss is taken."""
SEED = 0
"""What training draws anew in each epoch, evaluation draws once, so that its figures can be compared."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a checkpoint did on rows with right answers; ``evaluation.json``."""

    metrics: Mapping[str, float]
    breakdown: Breakdown | None = None
    """Label by label, where the task has labels."""

    def to_json(self) -> bytes:
        """As indented JSON."""
        return json.dumps(asdict(self), indent=2).encode()


def evaluate(task: Task, folder: Path, rows: Sequence[Row]) -> Evaluation:
    """What the task is judged by, for the checkpoint in ``folder``; ``rows`` answered and ``failed_rows``."""
    judged = type(task)(resolve(str(folder)), task.options)
    judged.load_processor()
    metrics, found = judged.judged_by(), {}
    if any(metric.from_loss for metric in metrics):
        found = judged.loss_metrics(mean_loss(judged, rows))
    if all(metric.from_loss for metric in metrics):
        return Evaluation(metrics={**found, "rows": float(len(rows)), "failed_rows": 0.0})
    predictor = Predictor(judged, Predict(dtype="float32")).open(processor=False)
    records = predictor.encode_rows(rows)
    answers = predictor.run_encoded(records)
    pairs = [(one.row, each) for one, each in zip(records, answers, strict=True) if not isinstance(each, Failure)]
    gold, ours = [right for right, _ in pairs], [each for _, each in pairs]
    told = {"rows": float(len(pairs)), "failed_rows": float(len(answers) - len(pairs))}
    if pairs:
        found |= judged.metrics(gold, ours)
    else:  # a model whose every answer is not a number
        found |= {metric.name: math.nan for metric in metrics if not metric.from_loss}
    return Evaluation(metrics={**found, **told}, breakdown=judged.breakdown(gold, ours))


def mean_loss(task: Task, rows: Sequence[Row]) -> float:
    """The mean of ``Task.judged_loss`` over the items of all rows, for a task whose processor is loaded."""
    device = pick_device("auto")
    task.load_model(device, torch.float32)
    arranged = task.arrange([examples_of(task, row) for row in rows])
    drawn = [task.vary(one, np.random.default_rng([SEED, at])) for at, one in enumerate(chain.from_iterable(arranged))]
    total, count = 0.0, 0
    for batch in _batches(drawn):
        summed, items = _loss(task, task.collate(batch), device)
        total, count = total + summed, count + items
    return total / max(count, 1)


def _batches(examples: Sequence[Example]) -> list[list[Example]]:
    sizes, groups = [one.length + one.extra for one in examples], [one.group for one in examples]
    return [[examples[at] for at in batch] for batch in cut(sizes, budget=BUDGET, groups=groups)]


def _loss(task: Task, batch: Batch, device: torch.device) -> tuple[float, int]:
    with torch.inference_mode():
        tensors: Mapping[str, torch.Tensor] = {name: one.to(device) for name, one in batch.items()}
        outputs = task.model(**{name: one for name, one in tensors.items() if name != "labels"})
        summed, items = task.judged_loss(outputs, tensors["labels"])
    return float(summed), int(items)
