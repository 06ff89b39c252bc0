"""Prepare → batches → model → rows: the one path of batch, training's evaluation and Serve.

``Predictor`` is what does not differ from task to task: rows become examples, examples go through the model in batches
of like length under a token budget, outputs come back in order and become answers. A row answers the same whatever it
is batched with. stages/predict.py makes stages of it.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np

from stages import metrics
from stages.base import Row
from stages.batches import BATCH_COST, cut
from stages.errors import Code, Failure, RowError
from stages.examples import Example, Output
from stages.hardware import (
    check_products,
    exact_float32,
    in_lanes,
    keep_memory,
    out_of_memory,
    pick_device,
    pick_dtype,
    use_threads,
)
from stages.settings import Predict as Settings

if TYPE_CHECKING:
    import torch

KEY = ("uri", "source", "page", "record")
"""Columns that tell rows apart; a task sees them beside those that it reads."""

BUDGETS = {"cpu": (2048, BATCH_COST), "cuda": (65536, 4096)}
"""Where ``token_budget`` is 0: padded tokens of a batch, and what one more batch costs in tokens, by device."""


class Task(Protocol):
    """What ``Predictor`` needs of a task; ``pipelines.family.Task`` says what each part does."""

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]]
    writes: ClassVar[tuple[str, ...]]
    equal_lengths: ClassVar[bool]
    batch_cost: ClassVar[int]

    @property
    def model(self) -> torch.nn.Module:
        """What ``load_model`` loaded."""

    def load_processor(self) -> None:
        """Tokenizer, label names."""

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Weights."""

    def records(self, row: Row) -> list[Row]:
        """One row a result record."""

    def encode(self, row: Row) -> list[Example]:
        """One row to 1..n examples."""

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """Outputs to the row's answers."""

    def collate(self, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """Examples to padded tensors."""

    def forward(self, batch: Mapping[str, torch.Tensor], examples: Sequence[Example]) -> list[Output]:
        """One output an example."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One result record between the halves: its row, and its examples or why it has none."""

    row: Row
    examples: Sequence[Example] = ()
    failure: Failure | None = None
    origin: int = 0
    """Which of the rows that ``encode_rows`` was given it comes from."""


class Predictor:
    """A task at work: ``Predictor(task, settings).open().predict(rows)``."""

    device: torch.device
    dtype: torch.dtype

    def __init__(self, task: Task, settings: Settings, *, threads: int = 0, family: str = "") -> None:
        """``threads`` is how many the model may use, where this process holds that many CPUs; 0 leaves torch's own.
        ``family`` names the task's family in metrics."""
        self._task, self._settings, self._threads = copy.copy(task), settings, threads
        self._labels = {"family": family, "task": task.name}

    def open(self, *, processor: bool = True, model: bool = True) -> Self:
        """Loads the processor, the model, or both. Raises UsageError where one does not fit."""
        started = time.perf_counter()
        if processor:
            self._task.load_processor()
        if model:
            from stages.linear import lay_out

            threads = use_threads(self._threads)
            exact_float32()
            keep_memory()
            self.device = pick_device(self._settings.device)
            self._lanes = (self._threads or threads) if self.device.type == "cpu" else 1
            self.dtype = pick_dtype(self._settings.dtype, self.device)
            check_products(self.device, self.dtype)
            self._task.load_model(self.device, self.dtype)
            lay_out(self._task.model)
            budget, self._batch_cost = BUDGETS[self.device.type]
            self._budget = self._settings.token_budget or budget
            metrics.record(metrics.MODEL_LOAD_SECONDS, time.perf_counter() - started, self._labels)
        return self

    def predict(self, rows: Sequence[Row]) -> list[Row | Failure]:
        """One answer (the columns ``task.writes``) or failure a record, in order; most rows are one record."""
        return self.run_encoded(self.encode_rows(rows))

    def encode_rows(self, rows: Sequence[Row]) -> list[Record]:
        """The processor's half: rows to records with examples. A row that cannot be encoded fails alone."""
        records: list[Record] = []
        for origin, row in enumerate(rows):
            try:
                each = self._task.records(row)
            except RowError as error:
                records.append(Record(row=row, failure=error.failure("prepare"), origin=origin))
                continue
            records += [self._encode(one, origin) for one in each]
        return records

    def _encode(self, row: Row, origin: int) -> Record:
        try:
            return Record(row=row, examples=self._task.encode(row), origin=origin)
        except RowError as error:
            return Record(row=row, failure=error.failure("prepare"), origin=origin)

    def run_encoded(self, records: Sequence[Record]) -> list[Row | Failure]:
        """The model's half: records with examples to answers, in order. A failed record stays its failure."""
        examples = [example for record in records for example in record.examples]
        outputs = iter(self.run_examples(examples))
        return [self.decode(record, [next(outputs) for _ in record.examples]) for record in records]

    def decode(self, record: Record, outputs: Sequence[Output | Failure]) -> Row | Failure:
        """One record's answer, given what ``run_examples`` said of each of its examples."""
        if record.failure is not None:
            return record.failure
        good = [one for one in outputs if not isinstance(one, Failure)]
        failures = [one for one in outputs if isinstance(one, Failure)]
        if failures:
            return failures[0]
        try:
            return self._task.decode(record.row, record.examples, good)
        except RowError as error:
            return error.failure("predict")

    @property
    def budget(self) -> int:
        """Most padded tokens of a batch; halved where memory ran out."""
        return self._budget

    def run_examples(self, examples: Sequence[Example]) -> list[Output | Failure]:
        """All examples through the model, in the order given; those of several requests share batches."""
        outputs: dict[int, Output | Failure] = {}
        batches = self._cut(examples, range(len(examples)))
        while batches:
            refused = self._forward_all(examples, batches, outputs)
            if len(refused) == 1:
                outputs[refused[0]] = self._too_large(examples[refused[0]])
            elif refused:  # memory ran out: half of this is the budget from now on, for what is left and for later rows
                longest = max(examples[i].length + examples[i].extra for i in refused)
                self._budget = max(min(self._budget, len(refused) * longest) // 2, 1)
            batches = self._cut(examples, [i for i in range(len(examples)) if i not in outputs])
        return [outputs[i] for i in range(len(examples))]

    def _forward_all(
        self, examples: Sequence[Example], batches: Sequence[list[int]], outputs: dict[int, Output | Failure]
    ) -> list[int]:
        """Batches through the model into ``outputs``, until one does not fit into memory: that one, else nothing."""
        work = [[examples[i] for i in batch] for batch in batches]
        with closing(in_lanes(self._forward, work, self._lanes)) as all_answers:
            for batch, answers in zip(batches, all_answers, strict=True):
                if answers is None:
                    return batch
                outputs.update(zip(batch, answers, strict=True))
                self._count([examples[i].length + examples[i].extra for i in batch])
        return []

    def _count(self, tokens: Sequence[int]) -> None:
        """Tells metrics of one batch of examples with so many tokens each."""
        metrics.record(metrics.BATCH_EXAMPLES, len(tokens), self._labels)
        metrics.record(metrics.TOKENS, sum(tokens), self._labels)
        metrics.record(metrics.PADDED_TOKENS, len(tokens) * max(tokens), self._labels)

    def batches(self, examples: Sequence[Example], *, budget: int = 0) -> list[list[int]]:
        """The examples by their numbers in batches, each for one pass through the model: of like length, the longest
        first. ``budget`` is the most padded tokens of one; 0, or more than this Predictor's own, takes that."""
        return cut(
            [one.length for one in examples],
            budget=min(budget or self._budget, self._budget),
            extras=[one.extra for one in examples],
            groups=[one.group for one in examples],
            equal_lengths=self._task.equal_lengths,
            batch_cost=self._batch_cost + self._task.batch_cost,
        )

    def _cut(self, examples: Sequence[Example], which: Sequence[int]) -> list[list[int]]:
        """The examples ``which`` in batches, by their numbers."""
        return [[which[i] for i in batch] for batch in self.batches([examples[i] for i in which])]

    def _forward(self, examples: Sequence[Example]) -> list[Output | Failure] | None:
        """One batch through the model; None where memory ran out."""
        import torch

        try:
            with torch.inference_mode():
                batch = {name: each.to(self.device) for name, each in self._task.collate(examples).items()}
                outputs = self._task.forward(batch, examples)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        else:
            return [self._nan() if _has_nan(one) else one for one in outputs]
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _too_large(self, example: Example) -> Failure:
        message = (
            f"one example of {example.length + example.extra} tokens does not fit into the memory of {self.device}"
        )
        return Failure(stage="predict", code=Code.OUT_OF_MEMORY, message=message)

    def _nan(self) -> Failure:
        precision = str(self.dtype).removeprefix("torch.")
        hint = "the checkpoint's weights are broken" if precision == "float32" else "try --set predict.dtype=float32"
        message = f"the model's answer is not a number (NaN) in {precision}: {hint}"
        return Failure(stage="predict", code=Code.INTERNAL, message=message)


def _has_nan(output: Output) -> bool:
    return any(np.issubdtype(each.dtype, np.floating) and bool(np.isnan(each).any()) for each in output.values())


def row_seed(row: Row, seed: int = 0) -> int:
    """A seed (63 bits) from the row's key and the user's ``seed``: sampling depends on neither batch nor order."""
    key = "\0".join(str(row.get(name)) for name in (*KEY, "text", "question")) + f"\0{seed}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
