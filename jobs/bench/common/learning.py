"""A training with its curve: ``manta train`` as users have it, or, for a quick try, its worker in this process."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jobs.bench.common.ask import tell
from jobs.bench.common.report import Table

if TYPE_CHECKING:
    from jobs.train import TrainRecord
    from jobs.training.settings import Augment, Train
    from pipelines import Options, Task


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


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A training as it was asked for."""

    family: str
    task: str
    start: Path
    data: str
    held_out: str
    output: Path
    how: Train
    augment: Augment
    options: Options


def listed(settings: Mapping[str, object]) -> str:
    """What ``--set`` was told."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def settings_note(settings: Mapping[str, object]) -> str:
    """The same for a report's notes."""
    return f"settings: {listed(settings)}"


def learn(
    family: str,
    task: str,
    *,
    start: Path,
    data: str,
    held_out: str,
    output: Path,
    settings: Mapping[str, str],
    alone: bool = False,
) -> Learned:
    """Trains from the checkpoint ``start`` on ``data``; ``held_out`` chooses the best model.

    ``settings`` are those of ``--set``; ``alone`` trains in this process, without Ray, whose start would take longer.
    """
    import pipelines
    from jobs.commands.train import training_for
    from jobs.config import Given

    told = {"run.family": family, "run.task": task, "run.data": data, "run.output": str(output)}
    given = {name: Given(value=value) for name, value in told.items()}
    _, how, augment, options = training_for(None, [f"{name}={value}" for name, value in settings.items()], given)
    asked = _Asked(
        family=family,
        task=task,
        start=start,
        data=data,
        held_out=held_out,
        output=output,
        how=how,
        augment=augment,
        options=options,
    )
    metric = pipelines.task(family, task).metric
    assert metric is not None
    record, points = _alone(asked) if alone else _on_ray(asked)
    return Learned(record=record, metric=metric.name, curve=_curve(points, f"eval_{metric.name}"))


def _curve(points: Iterable[Mapping[str, float]], evaluated: str) -> list[tuple[int, float, float]]:
    """Each evaluation, with the last loss that was told before it."""
    found: list[tuple[int, float, float]] = []
    loss = math.nan
    for point in points:
        loss = point.get("loss", loss)
        if evaluated in point:
            found.append((int(point["step"]), loss, point[evaluated]))
    return found


def _on_ray(asked: _Asked) -> tuple[TrainRecord, list[dict[str, float]]]:
    """``manta train``."""
    from jobs.train import train
    from jobs.training.record import CURVE

    record = train(
        asked.family,
        asked.task,
        asked.data,
        str(asked.output),
        checkpoint=str(asked.start),
        eval_data=asked.held_out,
        settings=asked.how,
        augment=asked.augment,
        options=asked.options,
        say=tell,
    )
    lines = (asked.output / CURVE).read_text("utf-8").splitlines()
    return record, [json.loads(line) for line in lines]


@dataclass
class _Points:
    """Takes the points of a curve as the driver's queue does."""

    seen: list[dict[str, float]]

    def put(self, point: tuple[int, dict[str, float]]) -> None:
        """One point."""
        self.seen.append({"step": point[0], **point[1]})


def _alone(asked: _Asked) -> tuple[TrainRecord, list[dict[str, float]]]:
    """What a worker of ``manta train`` does."""
    import torch

    import pipelines
    from jobs.train import TrainRecord
    from jobs.training.learn import learn as work
    from jobs.training.plan import MODEL, Plan
    from jobs.training.sources import find_sources
    from pipelines.checkpoint import resolve

    kind, output = pipelines.task(asked.family, asked.task), str(asked.output)
    options = dataclasses.replace(asked.options, allow_random_head=True)
    task = kind(resolve(str(asked.start)), options)
    task.load_processor()
    sources = find_sources(task, asked.data, asked.held_out, output, asked.how)
    task = kind(sources.checkpoint, options)
    task.load_processor()
    _encode(task, sources.tables, output)
    assert sources.held_out is not None
    points = _Points([])
    plan = Plan(
        task=kind(sources.checkpoint, options),
        settings=asked.how,
        augment=asked.augment,
        output=output,
        evaluation=tuple(sources.held_out.read(task)),
        points=cast("Any", points),
    )
    outcome = work(plan, torch.device("cpu"))
    assert outcome is not None
    record = TrainRecord(
        family=asked.family,
        task=asked.task,
        checkpoint=str(asked.start),
        model=f"{output}/{MODEL}",
        rows=sources.tables.rows,
        left_out=0,
        workers=1,
        steps=outcome.steps,
        loss=outcome.loss,
        metrics=outcome.metrics,
        seconds={"loop": outcome.seconds},
    )
    return record, points.seen


def _encode(task: Task, tables: Any, output: str) -> None:  # noqa: ANN401 - jobs.training.encode.Tables, imported late
    """Rows to ``encoded/``."""
    from jobs.training.encode import PART_ROWS, Encode
    from jobs.ways_in import from_table
    from stages.base import OpenStages
    from stages.settings import Settings

    stages = (*from_table(task, tables.columns, Settings()), Encode(task=task, gold=task.gold, output=output))
    opened = OpenStages(stages)
    try:
        for some in tables.slices(PART_ROWS):
            list(opened(some))
    finally:
        opened.close()
