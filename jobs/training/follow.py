"""What a task keeps up to date while its model learns (``Task.keep_up``), step by step."""

from __future__ import annotations

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines import Task


class Follower(TrainerCallback):
    """Tells the task of every step, on every rank. A training that goes on has kept what the task made before."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the callback's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Before the first step."""
        if state.global_step == 0:
            self._task.keep_up(0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:  # noqa: ARG002
        """After each."""
        self._task.keep_up(state.global_step)
