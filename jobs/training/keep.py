"""What rank 0 does beside training: tells the curve, evaluates, keeps the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.training.plan import EVALUATION, Plan
from pipelines import Task
from pipelines.checkpoint import at_hand, content_files, resolve
from pipelines.tasks.breakdown import Breakdown
from pipelines.tasks.loading import quiet
from stages.base import Row
from stages.errors import Failure
from stages.predictor import Predictor
from stages.settings import Predict
from stages.storage import open_storage

_TOLD = ("loss", "learning_rate", "grad_norm")


class Keeper(TrainerCallback):
    """Rank 0 only; the others' does nothing. With evaluation rows the best epoch's model is kept, else the last."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.metrics: dict[str, float] = {}
        """Of the model that is kept."""

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the callback's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: Mapping[str, float] | None = None,
        **_: object,
    ) -> None:
        """A point of the curve."""
        if state.is_world_process_zero and logs and "loss" in logs:
            told = {name: float(logs[name]) for name in _TOLD if name in logs}
            self._tell(state.global_step, {**told, "epoch": float(state.epoch or 0), "steps": state.max_steps})

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Evaluates, where there are rows, and keeps the better model."""
        metric, rows = self._plan.task.metric, self._plan.evaluation
        if not state.is_world_process_zero or not rows or metric is None:
            return
        folder = self._saved()
        judged = evaluate(self._plan.task, folder, rows)
        found = dict(judged.metrics)
        self._tell(state.global_step, {f"eval_{name}": value for name, value in found.items()})
        sign = 1 if metric.greater_is_better else -1
        if not self.metrics or sign * found[metric.name] > sign * self.metrics[metric.name]:
            self.metrics = found
            _replace(folder, self._plan.model)
            open_storage(self._plan.output).put(EVALUATION, json.dumps(asdict(judged), indent=2).encode())

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Without evaluation rows the last model is the one."""
        if state.is_world_process_zero and not self._plan.evaluation:
            _replace(self._saved(), self._plan.model)

    def _saved(self) -> Path:
        folder = self._plan.scratch / "candidate"
        save(self._plan.task, folder)
        return folder

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        if self._plan.points is not None:
            self._plan.points.put((step, dict(values)))


def save(task: Task, folder: Path) -> None:
    """The task's model as a checkpoint: weights as safetensors, configuration, and the tokenizer it came with."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in content_files(at_hand(task.checkpoint)):
        if file.suffix not in {".safetensors", ".bin"}:
            shutil.copy(file, folder)
    with quiet():
        task.model.save_pretrained(folder)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a checkpoint did on rows with right answers."""

    metrics: Mapping[str, float]
    breakdown: Breakdown | None
    """Label by label, where the task has labels."""


def evaluate(task: Task, folder: Path, rows: Sequence[Row]) -> Evaluation:
    """Judges a saved checkpoint on rows with right answers, as ``manta run`` would answer them."""
    predictor = Predictor(type(task)(resolve(str(folder)), task.options), Predict(dtype="float32")).open()
    records = predictor.encode_rows(rows)
    answers = predictor.run_encoded(records)
    pairs = [(one.row, each) for one, each in zip(records, answers, strict=True) if not isinstance(each, Failure)]
    gold, ours = [right for right, _ in pairs], [each for _, each in pairs]
    told = {"rows": float(len(pairs)), "failed_rows": float(len(answers) - len(pairs))}
    return Evaluation(metrics={**task.metrics(gold, ours), **told}, breakdown=task.breakdown(gold, ours))


def _replace(folder: Path, target: Path) -> None:
    """Puts a whole checkpoint in place of an older one."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
