"""The one adapter to Ray Data: pools of stages become ``map_batches`` operators. Nothing else calls it.

What Ray decides badly for us is set here, each with its reason (facts of Ray 2.60):

* a worker that dies is tried again twice, then its block is dropped (``max_errored_blocks=-1``) instead of being tried
  for ever; the caller counts what came back and plans the missing rows again in smaller blocks;
* a stream from plan to read is repartitioned, or all pages of one file stay in one process;
* that repartition asks for next to nothing: Ray's own wish, a whole CPU, is never granted beside readers that hold
  theirs, or holds one back from them;
* a source tells its rows and bytes here: ``from_arrow`` counts them in a task a block, each of which asks for a whole
  CPU and is waited for before anything starts;
* pools ask for different CPU shares, so that Ray neither fuses reading with predicting nor lets one starve the other.
"""

from __future__ import annotations

import logging
import uuid
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from stages.base import OpenStages, Pool

if TYPE_CHECKING:
    from ray.data import Dataset

RETRIES = 2
"""How often Ray tries a block again after its worker died."""
SPREAD_CPU = 0.02
"""CPUs of a repartition's task, which cuts rows of a few hundred bytes."""
RUN_TOKEN = 32
"""Characters of a token that name the stream; the rest names the pool."""


_OPEN: dict[str, OpenStages] = {}
"""The stages that are open in this worker process, by the token of their description."""


def _run_tasks(table: pa.Table, pool: Pool, token: str, last_try: bool) -> Iterator[pa.Table]:
    """The body of a task operator: stages open once a worker process and stay open between tasks."""
    if token not in _OPEN:
        for other in list(_OPEN):  # a plan that has ended: its processes and engines would stay for ever
            if not other.startswith(token[:RUN_TOKEN]):
                _OPEN.pop(other).close()
        _OPEN[token] = OpenStages(pool.stages, last_try=last_try)
    yield from _OPEN[token](table)


class _ActorPool:
    """The body of an actor operator: stages open when the actor starts."""

    def __init__(self, pool: Pool, last_try: bool) -> None:
        self._stages = OpenStages(pool.stages, last_try=last_try)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        yield from self._stages(table)


def build(source: Sequence[pa.Table], pools: Sequence[Pool], *, last_try: bool = False) -> Dataset:
    """The lazy dataset that runs ``source``, one block a table, through ``pools``.

    ``last_try`` turns an exception of a stage into the row's failure, where rows come one at a time.
    """
    import ray.data

    _configure()
    dataset: Dataset = ray.data.from_blocks(list(source))
    run = uuid.uuid4().hex
    for pool in pools:
        if pool.spread_rows:
            dataset = dataset.repartition(target_num_rows_per_block=pool.spread_rows)
            # Ray 2.60 has no argument for it; tests/stages/test_ray_data.py sees what the operator asks for.
            dataset._logical_plan.dag.ray_remote_args["num_cpus"] = SPREAD_CPU  # type: ignore[attr-defined]
        dataset = _add(dataset, pool, token=f"{run}{pool.name}", last_try=last_try)
    return dataset


def stream(
    source: Sequence[pa.Table],
    pools: Sequence[Pool],
    *,
    last_try: bool = False,
) -> Generator[pa.Table, None, None]:
    """Runs the pools over ``source`` and yields the last pool's tables as they are ready. Loses blocks, by design:
    the caller must compare what came back with what it planned."""
    import ray

    for reference in build(source, pools, last_try=last_try).iter_internal_ref_bundles():
        for block in reference.block_refs:
            table = ray.get(block)
            if table.num_rows:
                yield table


def _add(dataset: Dataset, pool: Pool, *, token: str, last_try: bool) -> Dataset:
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    asks: Any = {"num_cpus": pool.num_cpus, "num_gpus": pool.num_gpus or None, "memory": pool.memory or None}
    with warnings.catch_warnings():
        # max_retries and its kin have no named replacement yet in 2.60, only a deprecation warning.
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        if pool.workers is None:
            return dataset.map_batches(
                cast("Any", _run_tasks),
                fn_kwargs={"pool": pool, "token": token, "last_try": last_try},
                compute=TaskPoolStrategy(size=pool.most_tasks or None),
                batch_size=pool.batch_rows,
                batch_format="pyarrow",
                max_retries=RETRIES,
                **asks,
            )
        least, most = pool.workers
        return dataset.map_batches(
            _ActorPool,
            fn_constructor_args=(pool, last_try),
            compute=ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=2),
            batch_size=pool.batch_rows,
            batch_format="pyarrow",
            max_restarts=-1,
            max_task_retries=RETRIES,
            **asks,
        )


class _Dropped(logging.Handler):
    """Keeps why blocks were dropped: Ray says it in its log only."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reasons: deque[str] = deque(maxlen=20)

    def emit(self, record: logging.LogRecord) -> None:
        """Remembers the message with its exception."""
        cause = record.exc_info[1] if record.exc_info else None
        self.reasons.append(f"{record.getMessage()}\n{cause or ''}".strip()[-8000:])


_DROPPED = _Dropped()


def last_dropped() -> str:
    """Why Ray dropped the block that it dropped last; empty where it dropped none."""
    return _DROPPED.reasons[-1] if _DROPPED.reasons else ""


def _configure() -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    # Asked of every pool that has fewer blocks than actors, as one whose blocks are all dropped has.
    warnings.filterwarnings("ignore", message="The (minimum|maximum) number of concurrent (actors|tasks)")
    logger = logging.getLogger("ray.data")
    if _DROPPED not in logger.handlers:
        logger.addHandler(_DROPPED)
    for handler in logger.handlers:  # dropped blocks are counted and planned again: no news for a person
        if handler is not _DROPPED and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
