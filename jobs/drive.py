"""Runs one kind of work to its end: a full pass, then what went missing in blocks of 16, 4 and 1, then error rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pyarrow as pa

from jobs.stopping import Stopping
from jobs.waiting import watched
from jobs.work import Work
from stages import ray_data
from stages.base import Pool
from stages.errors import MantaError

SMALLER = (16, 4, 1)
"""Rows a block when what a pass did not answer is tried again; a row that fails alone says why."""
SAMPLE = 128
"""Rows tried alone when next to nothing came back: enough to see by the error rate that the fault is the machine's."""


def drive(
    work: Work,
    pools: Callable[[int | None], list[Pool]],
    first_rows: int,
    stop: Stopping,
    say: Callable[[str], None],
) -> Iterator[pa.Table]:
    """Yields receipts as they are committed, each ticked off in ``work``. What is missing afterwards is lost.

    ``say`` is told where a pass waits for what others hold.
    """
    fault: Exception | None = None
    for rows in (None, *SMALLER):
        before = work.missing
        if not before:
            return
        try:
            yield from _one_pass(work, pools(rows), work.blocks(rows or first_rows), stop, say, last_try=rows == 1)
        except MantaError:
            raise
        except Exception as error:  # noqa: BLE001 - raised below with its cause where nothing gets on
            # Ray gave up on the whole stream: a model that does not load, a lost node. Smaller passes may get on.
            fault = error
        if rows is None and work.missing == before:
            yield from _sample(work, pools(1), stop, say)
    if fault is not None and work.missing == before:
        raise MantaError(f"nothing could be processed: {cause(fault)}") from fault


def _sample(work: Work, pools: list[Pool], stop: Stopping, say: Callable[[str], None]) -> Iterator[pa.Table]:
    """A few rows one by one, so that a fault that hits every row is told from its error rows at once."""
    blocks = work.blocks(1)[:SAMPLE]
    yield from _one_pass(work, pools, blocks, stop, say, last_try=True)


def _one_pass(
    work: Work,
    pools: Sequence[Pool],
    blocks: Sequence[pa.Table],
    stop: Stopping,
    say: Callable[[str], None],
    *,
    last_try: bool,
) -> Iterator[pa.Table]:
    with closing(ray_data.stream(blocks, pools, last_try=last_try)) as receipts, watched(pools, say) as came:
        while True:
            with stop.interruptible():
                table = next(receipts, None)
            if table is None:
                return
            came()
            work.receive(table)
            yield table


def cause(error: BaseException) -> str:
    """The innermost cause of Ray's wrapped error, in one line."""
    while True:
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else ''}"[:500]
