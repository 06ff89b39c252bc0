"""What a process does for test_train_going_on.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

from jobs.training.learn import learn
from jobs.training.plan import Outcome, Plan
from stages.base import Row
from tests.jobs.training_rows import described, settings


class Told:
    """In the place of Ray's queue."""

    def __init__(self) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []

    def put(self, point: tuple[int, dict[str, float]]) -> None:
        self.points.append(point)

    def of(self, name: str) -> dict[int, float]:
        return {step: values[name] for step, values in self.points if name in values}


def learned(
    rank: int, *, folder: str, output: str, shares: int, kept: str = "", start: str = "", fsdp: bool = False
) -> dict[int, float]:
    """The curve that this rank hears; its part of each checkpoint lies in ``kept``/STEP."""
    AcceleratorState._reset_state(reset_partial_state=True)
    told = Told()
    plan = Plan(
        task=described(Path(folder)),
        settings=settings(epochs=3, token_budget=64, checkpoint_steps=2, fsdp=fsdp, learning_rate=1e-3),
        output=output,
        shares=shares,
        points=told,  # type: ignore[arg-type]
    )

    def report(part: Path, step: int) -> None:
        shutil.copytree(part, Path(kept, str(step)), dirs_exist_ok=True)

    learn(plan, torch.device("cpu"), start=Path(start) if start else None, report=report if kept else None)
    return told.of("loss")


def undisturbed(
    rank: int, folder: str, output: str, how: dict[str, Any], evaluation: list[Row]
) -> tuple[Outcome | None, list[tuple[int, dict[str, float]]]]:
    """A training from beginning to end, and its curve."""
    AcceleratorState._reset_state(reset_partial_state=True)
    told = Told()
    plan = Plan(
        task=described(Path(folder)),
        settings=settings(**how),
        output=output,
        evaluation=evaluation,
        points=told,  # type: ignore[arg-type]
    )
    return learn(plan, torch.device("cpu")), told.points
