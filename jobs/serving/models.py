"""The model processes: rows of several requests are encoded, share batches (lanes.py), and Predictor answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import pyarrow as pa

from jobs.serving.lanes import Lanes
from jobs.serving.settings import Model
from pipelines import Task
from stages.columns import COLUMNS, RESULT_HEAD
from stages.predict import Predictor, expand, with_answers
from stages.settings import Predict
from stages.table_columns import Columns
from stages.takes import Takes

T = TypeVar("T")


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


class Models:
    """A process with the models of one deployment."""

    def __init__(self, models: Sequence[Served], sizes: Model) -> None:
        """Loads them all. Raises what Predictor raises: Serve tells it as the reason why the replica does not start."""
        self._served = {one.name: one for one in models}
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        threads = sizes.threads or max(1, -int(-sizes.cpus // 1))
        self._open = {
            one.name: Predictor(one.task, one.predict, threads=threads, family=one.family).open() for one in models
        }
        on_cpu = all(one.device.type == "cpu" for one in self._open.values())
        wait_s = sizes.wait_ms / 1000
        self._lanes = Lanes(self._open, lanes=threads if on_cpu else 1, threads=threads, wait_s=wait_s)

    async def ready(self) -> list[str]:
        """The names of the models, once they are loaded."""
        return list(self._served)

    async def answer(self, model: str, table: pa.Table, deadline: float) -> tuple[pa.Table, int]:
        """The task's answers to healthy rows, as batch would write them, and the tokens that they took."""
        served, predictor = self._served[model], self._open[model]
        table, records = await self._encoding(lambda: expand(table, served.task, predictor))
        examples = [example for record in records for example in record.examples]
        outputs = iter(await self._lanes.run(model, examples, deadline))

        def decode() -> pa.Table:
            each = [[next(outputs) for _ in record.examples] for record in records]
            answers = [predictor.decode(record, some) for record, some in zip(records, each, strict=True)]
            return self._signed(with_answers(table, served.task, answers), served)

        return await self._encoding(decode), sum(one.length for one in examples)

    async def _encoding(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._encoder, work)

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
