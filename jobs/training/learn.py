"""The training of one process: alone, or one rank of a process group that is there already. Ray is not needed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import set_seed

from jobs.training import checkpoints, model
from jobs.training.follow import Follower
from jobs.training.keep import Best, Keeper
from jobs.training.plan import Outcome, Plan
from jobs.training.trainer import NotFiniteError, Report, TaskTrainer
from pipelines import Checkpoint

if TYPE_CHECKING:
    from transformers import TrainerState


def learn(
    plan: Plan,
    device: torch.device,
    *,
    start: Path | None = None,
    report: Report | None = None,
) -> Outcome | None:
    """Trains; rank 0 answers with the outcome. ``start`` is the folder of a checkpoint to go on from.

    ``report`` keeps checkpoints. A loss that is no number ends the training, and is told in the outcome.
    """
    set_seed(plan.settings.seed)
    if start is not None:
        plan.task.checkpoint = _found(start / checkpoints.MODEL, plan.task.checkpoint)
    model.load(plan.task, plan.settings, device)
    if plan.settings.fsdp and plan.world() > 1:
        model.shard(plan.task.model, device)
    with tempfile.TemporaryDirectory(prefix="manta-train-") as folder:
        scratch = Path(folder)
        trainer = TaskTrainer(plan, scratch=scratch, device=device, report=report)
        best = Best(**checkpoints.read_notes(start)) if start is not None else Best()
        keeper = Keeper(plan, trainer, scratch, best)
        trainer.notes = lambda: {"metrics": best.metrics, "stale": best.stale}
        trainer.add_callback(Follower(plan.task))  # before the keeper: what is judged and kept is up to date
        trainer.add_callback(keeper)
        torch.manual_seed(plan.settings.seed + trainer.args.process_index)  # ranks drop different units
        return _outcome(trainer, best, start)


def _outcome(trainer: TaskTrainer, best: Best, start: Path | None) -> Outcome | None:
    not_finite_at, seconds = 0, 0.0
    try:
        seconds = float(trainer.train(str(start) if start is not None else None).metrics["train_runtime"])
    except NotFiniteError as error:
        not_finite_at = error.step
    if not trainer.is_world_process_zero():
        return None
    return Outcome(
        steps=trainer.state.global_step,
        seconds=seconds,
        loss=mean_loss(trainer.state),
        metrics=best.metrics,
        not_finite_at=not_finite_at,
    )


def mean_loss(state: TrainerState) -> float:
    """Over all steps, from the curve, whose points are means since the point before."""
    points = [(int(entry["step"]), float(entry["loss"])) for entry in state.log_history if "loss" in entry]
    total, before = 0.0, 0
    for step, loss in points:
        total, before = total + (step - before) * loss, step
    return total / before if before else float("nan")


def _found(folder: Path, first: Checkpoint) -> Checkpoint:
    """The model of a training's checkpoint, which is told by what the training started from."""
    return Checkpoint(ref=first.ref, path=str(folder), content=first.content)
