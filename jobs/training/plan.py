"""What the driver tells the training workers, and what they tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.training.settings import Train
from pipelines import Task
from stages.base import Row

if TYPE_CHECKING:
    from ray.util.queue import Queue


EVALUATION = "evaluation.json"
"""In the output: how the kept model did on the evaluation rows, label by label where the task has labels."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the driver tells every worker. Picklable."""

    task: Task
    """As described; its ``allow_random_head`` is on, because training gives a new head its weights."""
    settings: Train
    output: str
    """Local or shared folder: encoded/ is read from it, model/ written."""
    evaluation: Sequence[Row] = ()
    """Rows with right answers; after each epoch rank 0 answers them, and the best model is kept."""
    points: Queue | None = None
    """Where rank 0 puts points of the curve, (step, name → value), for the driver to tell."""

    @property
    def model(self) -> Path:
        """The folder of the trained checkpoint."""
        return Path(self.output, "model")

    @property
    def scratch(self) -> Path:
        """What the training leaves beside it."""
        return Path(self.output, "trainer")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What rank 0 gives back."""

    steps: int
    seconds: float
    """Inside the training loop."""
    loss: float
    """Mean training loss over all steps."""
    metrics: Mapping[str, float]
    """Of the model that was kept, on the evaluation rows; empty without any."""
