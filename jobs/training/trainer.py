"""``transformers.Trainer`` over the batches of stages/batches.py, with ``Task.loss`` and our checkpoints.

The loss is ``Task.loss``: a sum over this rank's labelled items, divided by the number of items of the whole step over
all ranks and accumulated batches. The Trainer multiplies it by the number of ranks and DDP averages the gradients over
them, so the step is the same however many workers share it. (Left to itself, the Trainer of transformers 5.23 scales
loss and gradients of heads that ignore ``num_items_in_batch`` by accumulation steps and world size.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.random import Generator
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from jobs.training import checkpoints
from jobs.training.augment import Augmenter
from jobs.training.data import VOID, Encoded, Loader, Seen, Share, Steps, Vary
from jobs.training.model import groups
from jobs.training.plan import Plan
from jobs.training.settings import Precision
from stages.examples import Example
from stages.hardware import native_bfloat16

if TYPE_CHECKING:
    from torch import nn

POINTS = 50
"""Points of the training curve, at most; more where checkpoints are closer."""

Report = Callable[[Path, int], None]
"""Takes a rank's part of a checkpoint, which is the caller's again afterwards, and the step. Collective."""


class NotFiniteError(Exception):
    """The loss is no number any more; raised by all ranks at the same step."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step
        """The step that could not be done, from 1."""


class TaskTrainer(Trainer):
    """The Trainer of one task, on a model that ``model.load`` has made."""

    def __init__(self, plan: Plan, *, scratch: Path, device: torch.device, report: Report | None = None) -> None:
        """``scratch`` is a folder of this rank's own; ``report`` keeps checkpoints, which are not made without it."""
        self._plan, self._encoded, self._scratch, self._report = plan, Encoded(plan.output), scratch, report
        self._void = False
        self.notes: Callable[[], dict[str, Any]] = dict
        """What is to be kept with a checkpoint besides; as JSON."""
        super().__init__(
            model=plan.task.model,
            args=_arguments(plan, scratch, device),
            train_dataset=self._encoded,
            compute_loss_func=self._task_loss,
        )
        self.model_accepts_loss_kwargs = False  # the loss is ours
        self._loss_shifts_labels = False  # items are the labels that are not IGNORED, for every task
        self.remove_callback(PrinterCallback)

    @cached_property
    def steps_per_epoch(self) -> int:
        """Steps that the model is changed in an epoch."""
        return math.ceil(len(self.get_train_dataloader()) / self.args.gradient_accumulation_steps)

    # ---- data

    def get_train_dataloader(self) -> Loader:
        """This rank's batches; the Trainer calls ``set_epoch`` on it."""
        settings = self._plan.settings
        share = Share(
            budget=settings.token_budget,
            seed=settings.seed,
            rank=self.args.process_index,
            world=self.args.world_size,
            shares=self._plan.shares,
        )
        seen = Seen(self._encoded, variation(self._plan), settings.seed)
        collate = self._plan.task.collate
        return Loader(seen, Steps(self._encoded, share), lambda examples: dict(collate(examples)))

    # ---- loss

    def _task_loss(self, outputs: Any, labels: Any, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ANN401
        loss = self._plan.task.loss(outputs, labels, num_items_in_batch)
        return loss * 0 if self._void else loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:  # noqa: ANN401
        """One batch forwards and backwards."""
        self._void = VOID in inputs
        return super().training_step(
            model, {name: one for name, one in inputs.items() if name != VOID}, num_items_in_batch
        )

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:  # noqa: ANN401
        return super()._get_num_items_in_batch([one for one in batch_samples if VOID not in one], device)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:  # noqa: ANN401
        """The gradients' norm, which is the same on all ranks. Raises NotFiniteError, unless a scaler deals with it."""
        norm: Any = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        if self.accelerator.scaler is None and not math.isfinite(norm):
            raise NotFiniteError(self.state.global_step + 1)
        return norm

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Nothing is deferred: gradients of accumulated batches stay sharded too, for which FSDP is there."""
        yield

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """A point of the curve. Raises NotFiniteError where the loss is none."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise NotFiniteError(self.state.global_step)
        super().log(logs, start_time)

    # ---- optimizer

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:  # noqa: ARG002
        """AdamW with a group of parameters for each learning rate."""
        if self.optimizer is None:
            own = self._plan.task.model
            kind, how = self.get_optimizer_cls_and_kwargs(self.args, own)
            decayed = set(self.get_decay_parameter_names(own))
            self.optimizer = kind(groups(own, self._plan.settings, decayed), **how)
        return self.optimizer

    # ---- checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:  # noqa: ARG002
        """This rank's part of a checkpoint, handed to ``report``."""
        if self._report is not None:
            folder = self._scratch / "checkpoint"
            checkpoints.write(self, self._plan.task, folder, self.notes())
            self._report(folder, self.state.global_step)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: the model was loaded from the checkpoint to begin with."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.read_optimizer(self, self._plan.task, Path(checkpoint))


def variation(plan: Plan) -> Vary:
    """What epochs change in the examples of a task whose processor is loaded."""
    task, augment = plan.task, plan.augment
    if not augment.any:
        return task.vary
    tokenizer = getattr(task, "tokenizer", None)
    special = () if tokenizer is None else tokenizer.all_special_ids
    hidden = next((one for one in _stand_ins(tokenizer) if one is not None), 0)
    augmenter = Augmenter(settings=augment, special=special, hidden=hidden)

    def vary(example: Example, random: Generator) -> Example:
        return task.vary(augmenter(example, random), random)

    return vary


def _stand_ins(tokenizer: Any) -> tuple[int | None, ...]:  # noqa: ANN401 - any tokenizer, or None
    return (getattr(tokenizer, "mask_token_id", None), getattr(tokenizer, "unk_token_id", None))


def precision(setting: Precision, device: torch.device) -> Precision:
    """The number format of products; ``auto`` takes what a GPU computes in natively, and float32 on a CPU."""
    if setting != "auto":
        return setting
    if device.type == "cpu":
        return "float32"
    return "bfloat16" if native_bfloat16(device) else "float16"


def _arguments(plan: Plan, scratch: Path, device: torch.device) -> TrainingArguments:
    settings, format_ = plan.settings, precision(plan.settings.precision, device)
    shares = Share(budget=1, seed=0, rank=0, world=plan.world(), shares=plan.shares)
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        warmup_steps=settings.warmup,  # below 1: a share of all steps
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_accumulation_steps=settings.accumulate * shares.turns,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=True,  # what no loss depends on; the Trainer's choice is another for checkpointing
        bf16=format_ == "bfloat16",
        fp16=format_ == "float16",
        seed=settings.seed,
        use_cpu=device.type == "cpu",
        save_strategy="no",  # Keeper says when
        logging_steps=1 / POINTS,  # a share of all steps; the loss told is the mean since the last point
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=device.type == "cuda",
    )
