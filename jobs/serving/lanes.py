"""What waits for the models of a process, and the threads that run it: a batch is made up when a thread is free.

``@serve.batch`` closes a batch a few milliseconds after its first item, whether the model is free or not (Ray 2.60), so
that under load batches hold what came within those milliseconds: one text or two. Here everything waits until a thread
is free; that one takes, of all that waits, the batch of like length that holds what has waited longest.

On CPUs each lane gives torch one thread, as in ``stages.hardware.in_lanes``: whole batches beside each other are faster
than all threads in each product. What comes alone is given all threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from stages.errors import Code, Failure
from stages.examples import Example, Output
from stages.hardware import out_of_memory, use_threads
from stages.predictor import Predictor

LEAST = 256
"""Tokens for which a lane of its own is worth while: the weights, read once a batch, take as long as some 32 tokens."""
MOST = 256
"""How many of those that wait a batch is chosen among: choosing takes a moment on the thread that answers HTTP."""
log = logging.getLogger("ray.serve")


@dataclass(eq=False, kw_only=True)
class _Waiting:
    """One example, and who wants to know."""

    example: Example
    deadline: float
    """time.time() after which nobody waits for the answer."""
    answer: asyncio.Future[Output | Failure]
    since: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        return self.example.length + self.example.extra


class Lanes:
    """The threads of a process, and what waits for them. Called from one event loop."""

    def __init__(self, models: Mapping[str, Predictor], *, lanes: int, threads: int, wait_s: float) -> None:
        """``threads`` is how many one batch may use where nothing else is under way; ``wait_s`` how long a batch that
        is not full waits for more."""
        self._models, self._lanes, self._threads, self._wait_s = models, lanes, threads, wait_s
        self._waiting: dict[str, list[_Waiting]] = {name: [] for name in models}
        self._free = lanes
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, model: str, examples: Sequence[Example], deadline: float) -> list[Output | Failure]:
        """What the model says of each example, in order; they share batches with others that wait."""
        loop = asyncio.get_running_loop()
        mine = [_Waiting(example=one, deadline=deadline, answer=loop.create_future()) for one in examples]
        self._waiting[model] += mine
        self._begin()
        loop.call_later(self._wait_s + 0.001, self._begin)  # when these have waited long enough, by any clock
        return list(await asyncio.gather(*(one.answer for one in mine)))

    def _begin(self) -> None:
        """Gives each free lane a batch, while there are any."""
        while self._free and (found := self._next()):
            model, batch = found
            alone = self._free == self._lanes and not any(self._waiting.values())
            self._free -= 1
            task = asyncio.create_task(self._work(model, batch, self._threads if alone else 1))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> tuple[str, list[_Waiting]] | None:
        """Takes a batch with what has waited longest; None where nothing waits, or more may come to it."""
        self._drop_late()
        heads = [(waiting[0].since, name) for name, waiting in self._waiting.items() if waiting]
        if not heads:
            return None
        since, model = min(heads)
        there = self._waiting[model][:MOST]
        budget, tokens = self._models[model].budget, sum(one.tokens for one in there)
        if tokens < budget and time.monotonic() - since < self._wait_s:
            return None
        budget = min(budget, max(LEAST, -(-tokens // self._free)))  # so that every free lane gets some
        batches = self._models[model].batches([one.example for one in there], budget=budget)
        taken = next(set(batch) for batch in batches if 0 in batch)
        self._waiting[model] = [one for n, one in enumerate(self._waiting[model]) if n not in taken]
        return model, [one for n, one in enumerate(there) if n in taken]

    def _drop_late(self) -> None:
        now = time.time()
        for model, waiting in self._waiting.items():
            for one in waiting:
                if one.deadline <= now and not one.answer.done():
                    one.answer.set_result(_LATE)
            self._waiting[model] = [one for one in waiting if not one.answer.done()]

    async def _work(self, model: str, batch: Sequence[_Waiting], threads: int) -> None:
        """One batch to its end. Whatever breaks, here or in the thread, all who wait for it hear of it at once."""
        examples = [one.example for one in batch]
        try:
            loop = asyncio.get_running_loop()
            outputs = await loop.run_in_executor(self._pool, self._forward, model, examples, threads)
            answered = list(zip(batch, outputs, strict=True))
        except asyncio.CancelledError:  # the process ends
            raise
        except BaseException as error:  # noqa: BLE001 - what breaks in native code need not be an Exception
            failure = _internal(error)
            answered = [(one, failure) for one in batch]
        finally:
            self._free += 1
        for one, output in answered:
            if not one.answer.done():
                one.answer.set_result(output)
        self._begin()

    def _forward(self, model: str, examples: Sequence[Example], threads: int) -> list[Output | Failure]:
        """One batch. Where it fails for a reason that is no example's own, each is tried alone."""
        use_threads(threads)
        try:
            return self._models[model].run_examples(examples)
        except Exception as error:  # noqa: BLE001 - a bug: told as a failure with its cause in the log
            if len(examples) == 1:
                return [_internal(error)]
            return [output for one in examples for output in self._forward(model, [one], threads)]


_LATE = Failure(stage="predict", code=Code.INTERNAL, message="nobody waits for this answer any more")


def _internal(error: BaseException) -> Failure:
    log.error("the model failed: %s", "".join(traceback.format_exception(error)))
    code = Code.OUT_OF_MEMORY if out_of_memory(error) else Code.INTERNAL
    return Failure(stage="predict", code=code, message=f"{type(error).__name__} in the model: see the log")
