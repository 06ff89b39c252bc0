"""What a process does for test_train_every_task.py: steps of a training, seen from inside."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from accelerate.state import AcceleratorState
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from jobs.training import model
from jobs.training.data import VOID
from jobs.training.encode import FOLDER, examples_of, packed
from jobs.training.learn import learn
from jobs.training.plan import Plan
from jobs.training.settings import Train
from jobs.training.trainer import TaskTrainer
from pipelines import Checkpoint, Task, task
from pipelines.contract.rows import gold_row, sample_rows
from pipelines.sync_batch_norm import has_batch_norm
from stages.examples import Example
from tests.jobs.going_on_targets import Told

ROWS, FEW = 12, 4
WHOLE = 100_000
"""Padded tokens that hold all rows."""
CPU = torch.device("cpu")
Ways = Mapping[str, Mapping[str, Any]]
"""Names of steps, and in what each differs: settings of training, ``shares``, or ``wide``, which is float64."""


@dataclass
class Step:
    """A step that is a whole epoch, however many batches that takes."""

    loss: float
    gradients: dict[str, torch.Tensor]
    examples: int
    groups: int
    """Examples of one group may share a batch."""
    batches: int
    """Of one rank."""
    normed: bool
    """The model has norms over batches."""


def steps(rank: int, family: str, name: str, folder: str, scratch: str, ways: Ways) -> dict[str, Step]:
    """Loss and gradients of one step in each way, always of the same rows and weights."""
    described = task(family, name)(Checkpoint(ref="tiny", path=folder, content="0"))
    own = Path(scratch, str(rank))
    # What depends on all examples of a step needs a step that is one batch.
    one_length = described.contrasts or any(way.get("batch_norm") == "synchronised" for way in ways.values())
    write_encoded(described, own, one_length=one_length)
    return {way: _step(described, own, dict(how)) for way, how in ways.items()}


def _step(described: Task, own: Path, how: dict[str, Any]) -> Step:
    AcceleratorState._reset_state(reset_partial_state=True)  # one process, several trainings
    shares, wide = how.pop("shares", 0), how.pop("wide", False)
    settings = Train(
        **{"epochs": 1, "accumulate": 1_000, "token_budget": WHOLE, "max_grad_norm": 0, "batch_norm": "frozen", **how}
    )
    plan = Plan(task=described, settings=settings, output=str(own), shares=shares)
    model.load(described, settings, CPU)
    if wide:
        described.model.double()
    normed = has_batch_norm(described.model)
    if settings.fsdp:
        model.shard(described.model, CPU)
    trainer = (Wide if wide else TaskTrainer)(plan, scratch=own / "scratch", device=CPU)
    seen = Gradients()
    trainer.add_callback(seen)
    trainer.train()
    return Step(
        loss=next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
        gradients=seen.gradients,
        examples=len(trainer._encoded),
        groups=len(set(trainer._encoded.groups.tolist())),
        batches=sum(VOID not in batch for batch in trainer.get_train_dataloader()),
        normed=normed,
    )


def five_steps(
    rank: int, *, family: str, name: str, folder: str, scratch: str
) -> tuple[dict[int, float], dict[str, torch.Tensor]]:
    """The losses of five steps that are an epoch each, and the model's state after them."""
    AcceleratorState._reset_state(reset_partial_state=True)
    described = task(family, name)(Checkpoint(ref="tiny", path=folder, content="0"))
    own, told = Path(scratch, str(rank)), Told()
    write_encoded(described, own, one_length=True)
    settings = Train(epochs=5, token_budget=WHOLE, learning_rate=1e-4, warmup=0)
    learn(Plan(task=described, settings=settings, output=str(own), points=told), CPU)  # type: ignore[arg-type]
    return told.of("loss"), {key: one.clone() for key, one in described.model.state_dict().items()}


class Wide(TaskTrainer):
    """In float64."""

    def _prepare_input(self, data: Any) -> Any:
        moved = super()._prepare_input(data)
        return moved.double() if torch.is_tensor(moved) and moved.is_floating_point() else moved


class Gradients(TrainerCallback):
    """Those of the step, whole."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: object) -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                whole = parameter.grad.full_tensor() if isinstance(parameter.grad, DTensor) else parameter.grad
                self.gradients[name] = whole.detach().clone()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:
        control.should_log = True


def write_encoded(described: Task, output: Path, *, one_length: bool) -> None:
    """Rows of like length, or of one length, which are one batch, with right answers."""
    described.load_processor()
    sizes = [4] * ROWS * (3 if one_length else 1)
    rows = [gold_row(described, row, seed=n) for n, row in enumerate(sample_rows(type(described), sizes=sizes))]
    examples = [examples_of(described, row) for row in rows]
    alike = _alike(examples)
    if one_length:
        usual = Counter(size(one) for some in alike for one in some).most_common(1)[0][0]
        alike = [some for some in ([one for one in some if size(one) == usual] for some in alike) if some][:FEW]
    (output / FOLDER).mkdir(parents=True)
    pq.write_table(packed(described, [some for some in alike if some]), output / FOLDER / "0.parquet")


def size(example: Example) -> int:
    return example.length + example.extra


def _alike(examples: list[list[Example]]) -> list[list[Example]]:
    """Those that can share a batch, not those of rows with a single choice; all where none can."""
    counts = Counter(one.group for one in itertools.chain.from_iterable(examples))
    if max(counts.values()) == 1:
        return examples
    group = max(counts, key=lambda each: (counts[each] >= 4, each))
    return [[one for one in some if one.group == group] for some in examples]
