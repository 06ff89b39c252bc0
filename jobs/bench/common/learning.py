"""A training as ``manta train`` does it, with its curve."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.bench.common.ask import tell
from jobs.bench.common.report import Table

if TYPE_CHECKING:
    from jobs.train import TrainRecord

CURVE = "curve.jsonl"
"""What a training leaves of its curve."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a training came to."""

    record: TrainRecord
    metric: str
    """What chose the best model."""
    curve: Sequence[tuple[int, float, float]]
    """Step, loss, and the metric on the rows that were held out."""

    def curve_table(self, title: str = "Learning curve") -> Table:
        """The curve as a table."""
        columns = ("step", "loss", f"{self.metric} on held-out rows")
        return Table(title=title, columns=columns, rows=tuple(self.curve))

    @property
    def minutes(self) -> float:
        """In the training loop, evaluations included."""
        return self.record.seconds["loop"] / 60


def learn(
    family: str,
    task: str,
    *,
    start: Path,
    data: str,
    held_out: str,
    output: Path,
    settings: Mapping[str, str],
) -> Learned:
    """Trains from the checkpoint ``start`` on ``data``; ``held_out`` chooses the best model.

    ``settings`` are those of ``--set``.
    """
    import pipelines
    from jobs.commands.train import training_for
    from jobs.config import Given
    from jobs.train import train

    told = {"run.family": family, "run.task": task, "run.data": data, "run.output": str(output)}
    given = {name: Given(value=value) for name, value in told.items()}
    _, how, augment, options = training_for(None, [f"{name}={value}" for name, value in settings.items()], given)
    record = train(
        family,
        task,
        data,
        str(output),
        checkpoint=str(start),
        eval_data=held_out,
        settings=how,
        augment=augment,
        options=options,
        say=tell,
    )
    metric = pipelines.task(family, task).metric
    assert metric is not None
    return Learned(record=record, metric=metric.name, curve=_curve(output / CURVE, f"eval_{metric.name}"))


def _curve(file: Path, evaluated: str) -> list[tuple[int, float, float]]:
    """What the training wrote down: each evaluation, with the last loss that was told before it."""
    found: list[tuple[int, float, float]] = []
    loss = math.nan
    for line in file.read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        loss = point.get("loss", loss)
        if evaluated in point:
            found.append((point["step"], loss, point[evaluated]))
    return found
