"""What trainable tasks promise of losses and metrics. Each check raises AssertionError that names the task."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from pipelines.contract.case import Case
from pipelines.contract.rows import gold_row
from pipelines.family import IGNORED
from stages.base import Row
from stages.errors import Failure
from stages.examples import Example

if TYPE_CHECKING:
    import torch

    from pipelines.family import Batch, Task


def losses_add_up(case: Case) -> None:
    """A loss is the sum of its parts over the number of labelled items, and moves the weights."""
    import torch

    task = case.task
    task.load_processor()
    task.load_model(torch.device("cpu"), torch.float32)
    batch = task.collate(_one_group(task, case))
    labels = batch["labels"]
    count = (labels != IGNORED).sum()
    assert count > 0, f"{case}: nothing is labelled"
    whole = _loss(task, batch, slice(None), count)
    value = float(whole.detach())
    assert math.isfinite(value), f"{case}: the loss is {value}"
    assert value > 0, f"{case}: the loss is {value}"
    if len(labels) == len(next(iter(batch.values()))) and not case.kind.contrasts:
        parts = sum(float(_loss(task, batch, slice(n, n + 1), count).detach()) for n in range(len(labels)))
        assert math.isclose(parts, value, rel_tol=1e-5, abs_tol=1e-5), f"{case}: parts add up to {parts}, not {value}"
    alone = float(_loss(task, batch, slice(None), None).detach())
    assert math.isclose(alone, value, rel_tol=1e-5), f"{case}: without a number of items {alone}, not {value}"
    whole.backward()  # type: ignore[no-untyped-call]
    moved = (weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in task.model.parameters())
    assert any(moved), f"{case}: no weight has a gradient"


def metrics_are_told(case: Case) -> None:
    """Right answers are scored by every metric that the task names, the one that chooses the best model first."""
    task = case.task
    task.load_processor()
    rows = [gold_row(task, row, seed=n) for n, row in enumerate(case.rows(seed=3))]
    answers = case.opened().predict(rows)
    assert not any(isinstance(one, Failure) for one in answers), f"{case}: {answers}"
    from_loss = task.loss_metrics(1.0)
    scores = {**task.metrics(rows, cast("list[Row]", answers)), **from_loss}
    judges = task.judged_by()
    assert judges[0] == case.kind.metric, f"{case}: {judges[0]} is not {case.kind.metric}"
    assert {metric.name for metric in judges} == set(scores), f"{case}: {sorted(scores)}"
    assert {metric.name for metric in judges if metric.from_loss} == set(from_loss), f"{case}: {sorted(from_loss)}"
    assert all(math.isfinite(score) for score in scores.values()), f"{case}: {scores}"
    assert not set(case.kind.gold) & set(case.kind.reads), f"{case} reads its right answers"


CHECKS: tuple[Callable[[Case], None], ...] = (losses_add_up, metrics_are_told)
"""Of every task that can be trained."""


def _one_group(task: Task, case: Case) -> list[Example]:
    """Labelled examples that share a batch."""
    rows = [gold_row(task, row, seed=n) for n, row in enumerate(case.rows(seed=2)[:4])]
    labelled = [one for row in rows for one in task.encode_labels(row, task.encode(row))]
    labelled = [task.vary(one, np.random.default_rng(at)) for at, one in enumerate(labelled)]
    return [one for one in labelled if one.group == labelled[0].group]


def _loss(task: Task, batch: Batch, rows: slice, count: torch.Tensor | None) -> torch.Tensor:
    inputs = {name: tensor[rows] for name, tensor in batch.items() if name != "labels"}
    return task.loss(task.model(**inputs), batch["labels"][rows], count)
