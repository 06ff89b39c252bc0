"""A training's state after a step: what it needs to go on as if nothing had happened.

| file | what | who writes it |
|---|---|---|
| model/ | the model, as ``--checkpoint`` takes it | rank 0 |
| optimizer.pt, scheduler.pt, scaler.pt | by the names of parameters, so any number of workers can go on | rank 0 |
| trainer_state.json, notes.json | the step and the curve; what the keeper knows | rank 0 |
| rng_state_R.pth | where the rank's random numbers stand (dropout) | each rank |
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers.trainer import SCHEDULER_NAME, TRAINER_STATE_NAME

from pipelines import Task
from pipelines.checkpoint import at_hand, content_files
from pipelines.tasks.loading import quiet

if TYPE_CHECKING:
    from jobs.training.trainer import TaskTrainer

MODEL = "model"
_OPTIMIZER, _NOTES = "optimizer.pt", "notes.json"
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def write(trainer: TaskTrainer, task: Task, folder: Path, notes: Mapping[str, Any]) -> None:
    """This rank's part of a checkpoint into an empty folder. Collective."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    at_work = _AtWork.of(trainer)
    optimizer = get_optimizer_state_dict(task.model, at_work.optimizer, options=_WHOLE)
    weights = weights_of(task)
    trainer._save_rng_state(str(folder))
    if trainer.is_world_process_zero():
        save(task, folder / MODEL, weights)
        torch.save(optimizer, folder / _OPTIMIZER)
        torch.save(at_work.scheduler.state_dict(), folder / SCHEDULER_NAME)
        trainer._save_scaler(str(folder))
        trainer.state.save_to_json(str(folder / TRAINER_STATE_NAME))
        (folder / _NOTES).write_text(json.dumps(notes), encoding="utf-8")


def read_notes(folder: Path) -> dict[str, Any]:
    """What was kept with a checkpoint besides."""
    notes: dict[str, Any] = json.loads((folder / _NOTES).read_text("utf-8"))
    return notes


def read_optimizer(trainer: TaskTrainer, task: Task, folder: Path) -> None:
    """Puts optimizer and learning rate where they were. Collective."""
    state = torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True)
    at_work = _AtWork.of(trainer)
    options = StateDictOptions(full_state_dict=True, strict=False)  # what no loss depends on has no state
    set_optimizer_state_dict(task.model, at_work.optimizer, state, options=options)
    at_work.scheduler.load_state_dict(torch.load(folder / SCHEDULER_NAME, weights_only=True))


@dataclass(frozen=True, kw_only=True)
class _AtWork:
    """What a Trainer has once it has begun."""

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    @classmethod
    def of(cls, trainer: TaskTrainer) -> _AtWork:
        wrapped: Any = trainer.optimizer  # accelerate's, around torch's
        assert trainer.lr_scheduler is not None
        return cls(optimizer=wrapped.optimizer, scheduler=trainer.lr_scheduler)


def weights_of(task: Task) -> dict[str, Any] | None:
    """The whole model's weights where it is sharded, on rank 0; None where every rank has them anyway. Collective."""
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(task.model, FSDPModule):
        return None
    return get_model_state_dict(task.model, options=_WHOLE)


def save(task: Task, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """The task's model as a checkpoint: weights as safetensors, configuration, and the tokenizer it came with."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in content_files(at_hand(task.checkpoint)):
        if file.suffix not in {".safetensors", ".bin"} and not file.name.endswith(".index.json"):
            shutil.copy(file, folder)
    with quiet():
        task.model.save_pretrained(folder, state_dict=weights)
