"""How stages share the cluster: which run in one operator, and what each of its processes asks for.

On CPUs one core is 0.84 of reading, 0.10 of predicting and the rest of planning and spreading: reading is what takes
long, the model's process borrows the core while it has work. (``manta bench shares`` tries others, see
BENCHMARKS.md.) The readers are processes that stay, one a core: a task would wait a tenth of a second for its block,
longer than 16 pages of a text layer take. Planning runs in as many tasks as there are cores: at 0.02 CPU Ray would
start a process for every block, and their starting would take minutes. On GPUs the model has its own operator, and
its encoding half runs with reading, so that a GPU never waits for a tokenizer; its processes hold a tenth of the CPUs
at most, or with as many GPUs as CPUs nothing would be left to read with, and Ray would wait for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.cluster import Resources
from jobs.ways_in import (
    PART_ROWS,
    document_columns,
    from_documents,
    from_pages,
    from_table,
    planned,
    reads_words,
    rows_at_once,
)
from pipelines import Task
from stages.base import Pool, Stage
from stages.errors import UsageError
from stages.predict import Predict, Prepare, PrepareAndPredict
from stages.reading import READER
from stages.settings import Settings
from stages.table_columns import Columns
from stages.takes import Takes
from stages.write import RunStamp, WritePages, WriteResults

PLAN_CPU, READ_CPU, PREDICT_CPU = 0.02, 0.84, 0.10
TABLE_ROWS = 256
"""Rows of one slice of a table of texts or words."""
CORES_A_MODEL = 4
"""Cores that one model process keeps busy on tables, where nothing else runs."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything that decides the pools of a run."""

    task: Task | None
    """None for ``manta run text``."""
    settings: Settings
    stamp: RunStamp
    output: str
    pages: str
    resources: Resources
    takes: Takes | None = None
    """What ``task.takes()`` says."""
    reader: str = READER
    """What runs in the sandbox; another one for tests and benches."""

    @property
    def on_gpu(self) -> bool:
        """Whether the model runs on GPUs."""
        return self.resources.gpus >= 1 and self.settings.predict.device != "cpu"

    def documents(self, rows: int | None, *, count: int = 0) -> list[Pool]:
        """Plan → spread → read (→ predict) → write; ``rows`` a block where what went missing is tried again.

        ``count`` is how many documents there are, 0 where that is not known. Recordings and videos are a row each: no
        more processes start than they fill, since one takes seconds to start. Images may have several pages: models for
        one page each start, and more when they are needed.
        """
        size = rows or rows_at_once(self.takes)
        blocks = -(-count // size)
        plan = planned(self.settings, takes=self.takes, reader=self.reader)
        if not plan:
            return self._predicted(self._read(), size, spread=0, blocks=blocks)
        return [
            Pool(stages=plan, num_cpus=PLAN_CPU, most_tasks=self._cores, batch_rows=size),
            *self._predicted(self._read(), size, spread=size, begin=blocks),
        ]

    def document_columns(self) -> set[str]:
        """What there is of a document when the model comes."""
        return document_columns(self.task, self.settings, takes=self.takes)

    def _read(self) -> tuple[Stage, ...]:
        read = from_documents(self.task, self.settings, takes=self.takes, reader=self.reader)
        return (read, WritePages(output=self.pages, run=self.stamp)) if reads_words(self.task) else (read,)

    def reused(self, rows: int | None) -> list[Pool]:
        """Reuse → predict → write."""
        return self._predicted(from_pages(self.task, self.settings, self.pages), rows or PART_ROWS, spread=0)

    @property
    def table_rows(self) -> int:
        """Rows of one slice of a table, and of one committed part: few where each brings a file."""
        return TABLE_ROWS if self.takes is None else rows_at_once(self.takes)

    def tables(self, columns: Columns, rows: int | None, *, slices: int = 0) -> list[Pool]:
        """Table → predict → write, one slice at a time; no more models on CPUs than ``slices``, 0 where they were not
        counted, since one takes seconds to start."""
        del rows  # a slice is a block whatever its size
        assert self.task is not None
        read = from_table(self.task, columns, self.settings, takes=self.takes)
        if self.on_gpu:
            return self._predicted(read, 1, spread=0)
        share = min(CORES_A_MODEL, self._widest)
        actors = self.settings.predict.workers or max(1, self._places(share))
        cpus = next((n for n in range(self._widest, 1, -1) if self._places(n) >= actors), 1)
        models = min(actors, slices or actors)
        return [
            Pool(
                stages=(*read, *self._model(threads=cpus)),
                num_cpus=cpus,
                workers=(models, models),
                batch_rows=1,
            ),
        ]

    def _predicted(
        self, first: tuple[Stage, ...], rows: int, *, spread: int, blocks: int = 0, begin: int = 0
    ) -> list[Pool]:
        """``blocks`` is the most that come, ``begin`` how many do where documents have one page; 0 where not known."""
        if self.task is None:
            stages = (*first, self._write())
            return [self._reading(stages, READ_CPU + PREDICT_CPU, rows, spread)]
        if not self.on_gpu:
            most = self.settings.predict.workers or self._cores
            most = min(most, blocks or most)
            # What is seen or heard is read faster than a model takes it.
            least = 1 if self.takes is None else min(most, self._cores, begin or self._cores)
            return [
                self._reading(first, READ_CPU, rows, spread, blocks),
                Pool(stages=self._model(threads=1), num_cpus=PREDICT_CPU, workers=(least, most), batch_rows=rows),
            ]
        gpus = self.settings.predict.workers or int(self.resources.gpus)
        share = min(1.0, PREDICT_CPU * self.resources.cpus / gpus)
        prepare = Prepare(task=self.task, settings=self.settings.predict)
        predict = Predict(task=self.task, settings=self.settings.predict, family=self.stamp.family)
        return [
            self._reading((*first, prepare), READ_CPU, rows, spread),
            Pool(
                stages=(predict, self._write()),
                num_cpus=share,
                num_gpus=1,
                workers=(gpus, gpus),
                batch_rows=max(rows, TABLE_ROWS) if self.takes is None else rows,
            ),
        ]

    def _reading(self, stages: tuple[Stage, ...], cpus: float, rows: int, spread: int, blocks: int = 0) -> Pool:
        """A reader a core, no more than blocks."""
        readers = min(self._cores, blocks or self._cores)
        return Pool(stages=stages, num_cpus=cpus, workers=(readers, readers), batch_rows=rows, spread_rows=spread)

    @property
    def _cores(self) -> int:
        return max(1, int(self.resources.cpus))

    @property
    def _widest(self) -> int:
        """Cores of the largest machine."""
        return max(1, int(max(self.resources.machines)))

    def _places(self, cpus: int) -> int:
        """How many processes of so many CPUs there is room for."""
        return sum(int(machine // cpus) for machine in self.resources.machines)

    def _model(self, threads: int) -> tuple[Stage, ...]:
        assert self.task is not None
        predict = PrepareAndPredict(
            task=self.task, settings=self.settings.predict, threads=threads, family=self.stamp.family
        )
        return (predict, self._write())

    def _write(self) -> WriteResults:
        answers = self.task.writes if self.task else ()
        return WriteResults(output=self.output, run=self.stamp, answers=answers)


def check_room(pools: Sequence[Pool], resources: Resources) -> None:
    """Raises UsageError where the cluster cannot hold one process of each pool, or all that a pool must have: Ray would
    wait for them for ever."""
    least = [(pool, (pool.workers or (1, 1))[0]) for pool in pools]
    cpus, gpus = sum(pool.num_cpus * n for pool, n in least), sum(pool.num_gpus * n for pool, n in least)
    if cpus > resources.cpus + 1e-6 or gpus > resources.gpus + 1e-6:
        raise UsageError(
            f"this run needs {cpus:g} CPUs and {gpus:g} GPUs at once, and the cluster has {resources.cpus:g} and "
            f"{resources.gpus:g}: lower predict.workers, or add machines"
        )
