"""The model processes: rows of several requests are encoded, batched by cost, and answered by Predictor.

A request is encoded first. Its examples go into Serve's queue in groups of at most one budget, so that a long document
never holds a whole batch's time against a short text for longer than that; what waits in the queue together is one
batch, which Predictor cuts into forward passes of like length.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
from ray import serve

from jobs.serving.settings import Model
from pipelines import Task
from stages.columns import COLUMNS, RESULT_HEAD
from stages.errors import Code, Failure
from stages.examples import Example, Output
from stages.hardware import out_of_memory
from stages.predict import Predictor, expand, with_answers
from stages.predictor import Record
from stages.settings import Predict
from stages.tables import Columns
from stages.takes import Takes

T = TypeVar("T")
Outputs = list[Output | Failure]

WHOLE = 1000
"""The cost of a full batch; a group's is its share of the budget."""
log = logging.getLogger("ray.serve")


@dataclass(frozen=True, kw_only=True)
class Served:
    """One model as its processes and the ingress know it."""

    name: str
    family: str
    task: Task
    """With its checkpoint and options; small, nothing loaded."""
    takes: Takes | None
    """What ``task.takes()`` says."""
    columns: Columns
    """What requests bring it, as tables do."""
    of_document: frozenset[str]
    """Columns that a document has for it."""
    predict: Predict
    fingerprint: str
    """As in results/: rows with one fingerprint are equal."""


@dataclass(kw_only=True)
class Group:
    """Examples of one record that go through the model together."""

    model: str
    examples: Sequence[Example]
    cost: int
    """Thousandths of the model's budget, at most all of it."""
    deadline: float
    """time.time() after which nobody waits for the answer."""


def total_cost(groups: Sequence[Group]) -> int:
    """What Serve asks before it adds the last one to a batch.

    Serve refuses an item above the limit, which no group is; and it puts one that does not fit behind all others, again
    and again while shorter ones come. Here that happens once: what was passed over goes with the next batch, whatever
    is in it; Predictor cuts that one in two.
    """
    cost = sum(one.cost for one in groups)
    if cost > WHOLE:
        groups[-1].cost = 0
    return cost


class Models:
    """A process with the models of one deployment."""

    def __init__(self, models: Sequence[Served], sizes: Model) -> None:
        """Loads them all. Raises what Predictor raises: Serve tells it as the reason why the replica does not start."""
        self._served = {one.name: one for one in models}
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="model")
        threads = sizes.threads or max(1, -int(-sizes.cpus // 1))
        # Opened where it runs: the number of threads is the thread's in OpenMP.
        self._open = {
            one.name: self._runner.submit(
                Predictor(one.task, one.predict, threads=threads, family=one.family).open
            ).result()
            for one in models
        }
        wait_s = sizes.wait_ms / 1000

        async def run(groups: list[Group]) -> list[Outputs]:
            return await asyncio.get_running_loop().run_in_executor(self._runner, self._run, groups)

        self._batched: Any = serve.batch(
            run, max_batch_size=WHOLE, batch_wait_timeout_s=wait_s, batch_size_fn=total_cost
        )

    async def ready(self) -> list[str]:
        """The names of the models, once they are loaded."""
        return list(self._served)

    async def answer(self, model: str, table: pa.Table, deadline: float) -> tuple[pa.Table, int]:
        """The task's answers to healthy rows, as batch would write them, and the tokens that they took."""
        served, predictor = self._served[model], self._open[model]
        table, records = await self._encoding(lambda: expand(table, served.task, predictor))
        waiting = [
            self._batched(group) for record in records for group in grouped(record, model, predictor.budget, deadline)
        ]
        found: list[Outputs] = await asyncio.gather(*waiting)
        outputs = itertools.chain.from_iterable(found)

        def decode() -> pa.Table:
            each = [[next(outputs) for _ in record.examples] for record in records]
            answers = [predictor.decode(record, some) for record, some in zip(records, each, strict=True)]
            return self._signed(with_answers(table, served.task, answers), served)

        tokens = sum(example.length for record in records for example in record.examples)
        return await self._encoding(decode), tokens

    async def _encoding(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._encoder, work)

    def _run(self, groups: Sequence[Group]) -> list[Outputs]:
        """One batch. Where it fails for a reason that is no example's own, each group is tried alone."""
        answers: dict[int, Outputs] = {}
        for model in dict.fromkeys(one.model for one in groups):
            places = [n for n, one in enumerate(groups) if one.model == model and one.deadline > time.time()]
            found = self._together([groups[n] for n in places])
            answers.update(zip(places, found, strict=True))
        return [answers.get(n, [_LATE] * len(one.examples)) for n, one in enumerate(groups)]

    def _together(self, groups: Sequence[Group]) -> list[Outputs]:
        if not groups:
            return []
        try:
            outputs = self._open[groups[0].model].run_examples([one for group in groups for one in group.examples])
        except Exception as error:  # noqa: BLE001 - a bug: told as a failure with its cause in the log
            if len(groups) > 1:
                return [self._together([group])[0] for group in groups]
            return [[_internal(error)] * len(groups[0].examples)]
        left = iter(outputs)
        return [[next(left) for _ in group.examples] for group in groups]

    @staticmethod
    def _signed(table: pa.Table, served: Served) -> pa.Table:
        """What came out, with the columns that say what answered; what went in, pixels and samples, stays here."""
        table = table.select([*RESULT_HEAD, *served.task.writes, "failure"])
        for name, value in (
            ("checkpoint", served.task.checkpoint.ref),
            ("fingerprint", served.fingerprint),
            ("at", datetime.now(UTC)),
        ):
            values = pa.repeat(pa.scalar(value, COLUMNS[name].type), table.num_rows)
            table = table.append_column(name, values)
        return table


def grouped(record: Record, model: str, budget: int, deadline: float) -> list[Group]:
    """The record's examples in groups of at most ``budget`` tokens; a longer one goes alone."""
    groups: list[Group] = []
    held: list[Example] = []
    size = 0
    for one in record.examples:
        tokens = one.length + one.extra
        if held and size + tokens > budget:
            groups.append(_group(held, size, model, budget, deadline))
            held, size = [], 0
        held.append(one)
        size += tokens
    return [*groups, _group(held, size, model, budget, deadline)] if held else groups


def _group(examples: Sequence[Example], size: int, model: str, budget: int, deadline: float) -> Group:
    cost = max(1, min(WHOLE, WHOLE * size // budget))
    return Group(model=model, examples=tuple(examples), cost=cost, deadline=deadline)


_LATE = Failure(stage="predict", code=Code.INTERNAL, message="nobody waits for this answer any more")


def _internal(error: Exception) -> Failure:
    log.error("the model failed: %s", "".join(traceback.format_exception(error)))
    code = Code.OUT_OF_MEMORY if out_of_memory(error) else Code.INTERNAL
    return Failure(stage="predict", code=code, message=f"{type(error).__name__} in the model: see the log")
