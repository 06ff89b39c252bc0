"""What every training worker does: ``transformers.Trainer`` over this rank's batches, inside Ray Train.

The loss is ``Task.loss``: a sum over this rank's labelled items, divided by the number of items of the whole step over
all ranks and accumulated batches. The Trainer multiplies it by the number of ranks and DDP averages the gradients over
them, so the step is the same however many workers share it. (Left to itself, the Trainer of transformers 5.23 scales
loss and gradients of heads that ignore ``num_items_in_batch`` by accumulation steps and world size.)
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from jobs.training.data import Encoded, Loader, Share, Steps
from jobs.training.keep import Keeper
from jobs.training.plan import Outcome, Plan

POINTS = 50
"""Points of the training curve."""


class TaskTrainer(Trainer):
    """The Trainer with the batches of stages/batches.py."""

    def __init__(self, plan: Plan, *, cuda: bool) -> None:
        self._plan, self._encoded = plan, Encoded(plan.output)
        super().__init__(
            model=plan.task.model,
            args=_arguments(plan, cuda=cuda),
            train_dataset=self._encoded,
            compute_loss_func=self._task_loss,
        )
        self.remove_callback(PrinterCallback)

    def _task_loss(self, outputs: Any, labels: Any, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ANN401
        return self._plan.task.loss(outputs, labels, num_items_in_batch)

    def get_train_dataloader(self) -> Loader:
        """This rank's batches; the Trainer calls ``set_epoch`` on it."""
        share = Share(
            budget=self._plan.settings.token_budget,
            seed=self._plan.settings.seed,
            rank=self.args.process_index,
            world=self.args.world_size,
        )
        collate = self._plan.task.collate
        return Loader(self._encoded, Steps(self._encoded, share), lambda examples: dict(collate(examples)))


def work(config: dict[str, Any]) -> Outcome | None:
    """The body of one worker; ``config["plan"]`` is a Plan. Rank 0 answers with the outcome."""
    plan = config["plan"]
    assert isinstance(plan, Plan)
    set_seed(plan.settings.seed)
    cuda = torch.cuda.is_available()
    plan.task.load_processor()
    plan.task.load_model(torch.device("cuda" if cuda else "cpu"), torch.float32)
    keeper = Keeper(plan)
    trainer = TaskTrainer(plan, cuda=cuda)
    trainer.add_callback(keeper)
    done = trainer.train()
    if not trainer.is_world_process_zero():
        return None
    return Outcome(
        steps=done.global_step,
        seconds=float(done.metrics["train_runtime"]),
        loss=float(done.training_loss),
        metrics=keeper.metrics,
    )


def _arguments(plan: Plan, *, cuda: bool) -> TrainingArguments:
    settings = plan.settings
    return TrainingArguments(
        output_dir=str(plan.scratch),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,  # below 1: a share of all steps
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_accumulation_steps=settings.accumulate,
        average_tokens_across_devices=True,
        seed=settings.seed,
        use_cpu=not cuda,
        save_strategy="no",
        logging_steps=1 / POINTS,  # a share of all steps; the loss told is the mean since the last point
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=cuda,
    )
