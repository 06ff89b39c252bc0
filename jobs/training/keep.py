"""What is done beside training, after a step: the curve is told, the model judged and kept, a checkpoint asked for."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.training.checkpoints import save, weights_of
from jobs.training.evaluate import Evaluation, evaluate
from jobs.training.plan import EVALUATION, Plan, publish
from pipelines import Metric
from stages.storage import open_storage

if TYPE_CHECKING:
    from jobs.training.trainer import TaskTrainer

_TOLD = ("loss", "learning_rate", "grad_norm", "epoch")


@dataclass
class Best:
    """How the evaluations went so far; the same on all ranks, and kept with every checkpoint."""

    metrics: dict[str, float] = field(default_factory=dict)
    """Of the model that is kept."""
    stale: int = 0
    """Evaluations since it was the best."""

    def take(self, found: Mapping[str, float], metric: Metric) -> bool:
        """Whether an evaluation is the best so far."""
        sign = 1 if metric.greater_is_better else -1
        better = not self.metrics or sign * found[metric.name] > sign * self.metrics[metric.name]
        better = better and math.isfinite(found[metric.name])
        self.metrics, self.stale = (dict(found), 0) if better else (self.metrics, self.stale + 1)
        return better


class Keeper(TrainerCallback):
    """On every rank, since sharded weights are gathered from all; only rank 0 tells, judges and keeps.

    With evaluation rows the best model is kept, else the last. All of it is done before the step's checkpoint, so that
    a training that goes on has done it.
    """

    def __init__(self, plan: Plan, trainer: TaskTrainer, scratch: Path, best: Best | None = None) -> None:
        self._plan, self._trainer, self._scratch = plan, trainer, scratch
        self._metric = plan.metric()
        self.best = best or Best()

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the callback's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Tells again what the curve was before a fault: the driver may be a new one."""
        for entry in state.log_history:
            self._tell(state, entry)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:  # noqa: ARG002
        """Evaluates, and asks for a checkpoint, where it is time."""
        settings, step = self._plan.settings, state.global_step
        last, epoch = step >= state.max_steps, step % self._trainer.steps_per_epoch == 0
        if self._plan.evaluation and (_due(step, settings.evaluate_steps, epoch) or last):
            self._judge(state)
            control.should_training_stop |= 0 < settings.patience <= self.best.stale
        if _due(step, settings.checkpoint_steps, epoch) and not last:
            control.should_save = True
        # A point of the curve is the mean loss since the last one: begun anew here, it can go on from the checkpoint.
        control.should_log |= control.should_save or last or control.should_training_stop

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        """A point of the curve."""
        self._tell(state, {**(logs or {}), "step": state.global_step})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:  # noqa: ARG002
        """Without evaluation rows the last model is the one."""
        if not self._plan.evaluation:
            self._publish(self._saved(state))

    # ---- parts

    def _judge(self, state: TrainerState) -> None:
        """Rank 0 evaluates, and tells the others."""
        folder = self._saved(state)
        judged = Evaluation(metrics={})
        if folder is not None:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # dropout goes on as without it
                judged = evaluate(self._plan.task, folder, self._plan.evaluation)
        found = _from_rank_0(dict(judged.metrics))
        state.log_history.append({**{f"eval_{name}": one for name, one in found.items()}, "step": state.global_step})
        self._tell(state, state.log_history[-1])
        if self.best.take(found, self._metric):
            self._publish(folder)
            if folder is not None:
                open_storage(self._plan.output).put(EVALUATION, judged.to_json())

    def _saved(self, state: TrainerState) -> Path | None:
        """The model as it is, in a folder of rank 0's. Collective."""
        weights = weights_of(self._plan.task)
        if not state.is_world_process_zero:
            return None
        folder = self._scratch / "candidate"
        shutil.rmtree(folder, ignore_errors=True)
        save(self._plan.task, folder, weights)
        return folder

    def _publish(self, folder: Path | None) -> None:
        if folder is not None:
            publish(folder, self._plan.output)

    def _tell(self, state: TrainerState, entry: Mapping[str, Any]) -> None:
        if not state.is_world_process_zero or self._plan.points is None:
            return
        told = {name: float(one) for name, one in entry.items() if name in _TOLD or name.startswith("eval_")}
        if "loss" in told:
            told["steps"] = state.max_steps
        elif not any(name.startswith("eval_") for name in told):
            return
        self._plan.points.put((int(entry["step"]), told))


def _due(step: int, every: int, epoch: bool) -> bool:
    return step % every == 0 if every else epoch


def _from_rank_0(found: dict[str, float]) -> dict[str, float]:
    import torch.distributed as dist

    if not dist.is_initialized():
        return found
    box = [found]
    dist.broadcast_object_list(box)
    return box[0]
