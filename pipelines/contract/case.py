"""One task of one family on its tiny checkpoint: what the checks are given."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from pipelines.contract.rows import LENGTHS, SIZES, mask_of, sample_rows
from pipelines.family import Checkpoint, Task
from stages.base import Row
from stages.predictor import Predictor
from stages.settings import Predict


@dataclass(frozen=True)
class Case:
    """Made once a task; what it opens stays open."""

    family: str
    kind: type[Task]
    folder: Path
    """The tiny checkpoint."""

    def __str__(self) -> str:
        return f"{self.family}/{self.kind.name}"

    @property
    def task(self) -> Task:
        """The task with its checkpoint; nothing loaded."""
        return self.kind(Checkpoint(ref=f"tiny {self.family}", path=str(self.folder), content="0"))

    def opened(self, budget: int = 0) -> Predictor:
        """The task at work, in float32 on the CPU, with so many padded tokens a batch."""
        return _opened(self, budget)

    def rows(self, seed: int = 0) -> list[Row]:
        """Rows of several lengths with what the task reads."""
        sizes = LENGTHS.get(self.kind.name, SIZES)
        return sample_rows(self.kind, seed=seed, sizes=sizes, mask=mask_of(self.folder))


@functools.cache
def _opened(case: Case, budget: int) -> Predictor:
    return Predictor(case.task, Predict(dtype="float32", device="cpu", token_budget=budget)).open()
