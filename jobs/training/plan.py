"""What the driver tells the training workers, and what they tell it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.training.settings import Augment, Train
from pipelines import Metric, Task
from stages.base import Row
from stages.errors import UsageError
from stages.storage import open_storage

if TYPE_CHECKING:
    from ray.util.queue import Queue

MODEL = "model"
"""In the output: the trained checkpoint."""
CONFIG = "config.json"
"""Uploaded last: without it a checkpoint is none."""
EVALUATION = "evaluation.json"
"""In the output: how the kept model did on the evaluation rows, label by label where the task has labels."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the driver tells every worker. Picklable."""

    task: Task
    """As described; its ``allow_random_head`` is on, because training gives a new head its weights."""
    settings: Train
    augment: Augment = field(default_factory=Augment)
    output: str
    """Folder that all workers reach, or s3:// prefix: encoded/ is read from it, model/ written."""
    shares: int = 0
    """Parts that each step is dealt into: the workers that the training began with; 0: as many as there are."""
    evaluation: Sequence[Row] = ()
    """Rows with right answers, by which the best model is kept."""
    points: Queue | None = None
    """Where rank 0 puts points of the curve, (step, name → value), for the driver to tell."""

    def metric(self) -> Metric:
        """What chooses the best model; the task's processor is loaded. Raises UsageError for one that there is not."""
        return choose_metric(self.task, self.settings.metric)

    def world(self) -> int:
        """Workers at work, as the process group's environment tells it."""
        return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What rank 0 gives back."""

    steps: int
    seconds: float
    """Inside the training loop, since the workers were last started."""
    loss: float
    """Mean training loss over all steps."""
    metrics: Mapping[str, float]
    """Of the model that was kept, on the evaluation rows; empty without any."""
    not_finite_at: int = 0
    """The step at which the loss was no number, which ended the training; 0 where that was not so."""


def choose_metric(task: Task, name: str) -> Metric:
    """The task's metric of that name, its own where empty. Raises UsageError that lists what there is."""
    there = task.judged_by()
    found = next((one for one in there if one.name == name), None) if name else there[0]
    if found is None:
        names = ", ".join(one.name for one in there)
        raise UsageError(f"train.metric: {task.name} is not judged by {name!r}; there are: {names}")
    return found


def check_contrast(task: Task, settings: Train, *, begun: int = 0, workers: int = 0) -> None:
    """Raises UsageError where a task whose examples stand against the others of their step would not see all of them:
    a step is then one batch of each worker; ``workers`` go on with what ``begun`` many began."""
    if not task.contrasts:
        return
    why = f"{task.name} sets the rows of a step against each other, so a step is one batch of each worker"
    if settings.accumulate > 1:
        raise UsageError(f"train.accumulate: {why}: raise train.token_budget or --workers instead")
    if settings.min_workers:
        raise UsageError(f"train.min_workers: {why}, and fewer workers cannot do it")
    if workers < begun:
        raise UsageError(f"--resume: {why}, and this training began with {begun} workers: go on with as many")


def publish(folder: Path, output: str) -> None:
    """Copies a whole checkpoint into the output, in place of an older one."""
    put_checkpoint(folder, f"{output}/{MODEL}")


def put_checkpoint(folder: Path, place: str) -> None:
    """Copies a whole checkpoint to a folder or an ``s3://`` one, in place of an older one."""
    if place.startswith("s3://"):
        storage = open_storage(place)
        files = [path for path in folder.rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda path: (path.name == CONFIG, path)):
            storage.put(file.relative_to(folder).as_posix(), file.read_bytes())
        return
    target = Path(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.new")  # on the target's file system, so that it can be renamed
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder, aside)
    shutil.rmtree(target, ignore_errors=True)
    aside.rename(target)
