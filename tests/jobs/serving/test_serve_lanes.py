"""What waits for a model: batches of like length, nobody passed over, every thread at work."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from jobs.serving.lanes import Lanes
from stages.batches import cut
from stages.errors import Code, Failure
from stages.examples import Example

SOON = 60.0


class Held:
    """A model whose batches end when they are let go; it answers each example with its length."""

    budget = 1000

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.threads: list[str] = []
        self.go = threading.Semaphore(0)

    def batches(self, examples, *, budget=0):
        return cut([one.length for one in examples], budget=min(budget or self.budget, self.budget))

    def run_examples(self, examples):
        self.seen.append(sorted(one.length for one in examples))
        self.threads.append(threading.current_thread().name)
        assert self.go.acquire(timeout=20)
        if any(one.length == 13 for one in examples):
            raise ValueError("unlucky")
        return [{"length": np.array([one.length])} for one in examples]


def example(length: int) -> Example:
    return Example(arrays={"ids": np.zeros(length, np.int32)}, length=length)


def asked(lanes: Lanes, *lengths: int, deadline: float = SOON, model: str = "m") -> asyncio.Task:
    return asyncio.create_task(lanes.run(model, [example(one) for one in lengths], time.time() + deadline))


def told(outputs) -> list[int]:
    return [int(one["length"][0]) for one in outputs]


async def until(true) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        await asyncio.sleep(0.005)


def test_what_comes_while_the_model_works_is_one_batch_of_like_length():
    async def scenario():
        held = Held()
        lanes = Lanes({"m": held}, lanes=1, threads=1, wait_s=0.0)
        first = asked(lanes, 30)
        await until(lambda: held.seen)
        others = [asked(lanes, length) for length in (100, 5, 101, 6, 99, 7)]
        await asyncio.sleep(0.05)
        held.go.release(10)
        assert told(await first) == [30]
        assert [told(await one) for one in others] == [[100], [5], [101], [6], [99], [7]]
        assert held.seen == [[30], [99, 100, 101], [5, 6, 7]]

    asyncio.run(scenario())


def test_the_oldest_is_never_passed_over():
    """A long one among short ones that keep coming goes with the next batch."""

    async def scenario():
        held = Held()
        lanes = Lanes({"m": held}, lanes=1, threads=1, wait_s=0.0)
        work = [asked(lanes, 5)]
        await until(lambda: held.seen)
        work.append(asked(lanes, 900))
        for _ in range(5):
            await asyncio.sleep(0)
            work += [asked(lanes, 5) for _ in range(20)]
            count = len(held.seen)
            held.go.release()
            await until(lambda count=count: len(held.seen) > count)
        held.go.release(100)
        await asyncio.gather(*work)
        assert held.seen[1] == [900]

    asyncio.run(scenario())


def test_every_free_lane_gets_some_and_what_is_little_is_shared_out_to_none():
    async def scenario():
        held = Held()
        lanes = Lanes({"m": held}, lanes=2, threads=2, wait_s=0.02)
        work = asked(lanes, *[100] * 8)
        await until(lambda: len(held.seen) == 2)
        assert held.seen == [[100] * 4] * 2
        assert len(set(held.threads)) == 2
        held.go.release(2)
        await work
        work = asked(lanes, 10, 10, 10)
        await until(lambda: len(held.seen) == 3)
        assert held.seen[2] == [10, 10, 10]
        held.go.release(2)
        await work

    asyncio.run(scenario())


def test_a_batch_waits_for_more_but_not_for_long():
    async def scenario():
        held = Held()
        held.go.release(10)
        lanes = Lanes({"m": held}, lanes=1, threads=1, wait_s=1.0)
        began = time.monotonic()
        work = [asked(lanes, 10)]
        await asyncio.sleep(0.05)
        work.append(asked(lanes, 11))
        await asyncio.gather(*work)
        assert held.seen == [[10, 11]]
        assert 1 <= time.monotonic() - began < 5
        began = time.monotonic()
        await asked(lanes, *[500] * 2)
        assert time.monotonic() - began < 0.9, "a full one does not wait"

    asyncio.run(scenario())


def test_nothing_is_run_for_which_nobody_waits():
    async def scenario():
        held = Held()
        lanes = Lanes({"m": held}, lanes=1, threads=1, wait_s=0.0)
        first = asked(lanes, 5)
        await until(lambda: held.seen)
        late, gone = asked(lanes, 6, deadline=0.01), asked(lanes, 7)
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        held.go.release(10)
        await first
        [failure] = await late
        assert isinstance(failure, Failure)
        assert await lanes.run("m", [], time.time() + 1) == []
        assert held.seen == [[5]]

    asyncio.run(scenario())


def test_an_error_costs_only_the_example_that_makes_it():
    async def scenario():
        held = Held()
        held.go.release(10)
        lanes = Lanes({"m": held, "n": Held()}, lanes=1, threads=1, wait_s=0.0)
        good, bad, fine = await asked(lanes, 12, 13, 14)
        assert (told([good]), told([fine])) == ([12], [14])
        assert (bad.code, bad.stage) == (Code.INTERNAL, "predict")
        assert "ValueError" in bad.message

    asyncio.run(scenario())


class _Panic(BaseException):
    """As native code raises it: no Exception."""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda examples: [{"length": np.array([1])}] * (len(examples) - 1), "ValueError"),  # nobody knows whose
        (lambda examples: (_ for _ in ()).throw(_Panic("native")), "_Panic"),
    ],
)
def test_all_who_wait_for_a_batch_that_breaks_hear_of_it_at_once(answer, told):
    async def scenario():
        held = Held()
        held.run_examples, run = answer, held.run_examples
        lanes = Lanes({"m": held}, lanes=1, threads=1, wait_s=0.05)
        work = [asked(lanes, 10, 11), asked(lanes, 12)]
        failures = [one for some in await asyncio.wait_for(asyncio.gather(*work), 10) for one in some]
        assert [(one.code, one.stage) for one in failures] == [(Code.INTERNAL, "predict")] * 3
        assert all(told in one.message for one in failures)
        held.run_examples = run
        held.go.release()
        assert [int(one["length"][0]) for one in await asked(lanes, 14)] == [14], "the lane goes on"

    asyncio.run(scenario())


@pytest.mark.parametrize("count", [1, 3])
def test_models_of_one_process_take_turns(count):
    async def scenario():
        ones, others = Held(), Held()
        lanes = Lanes({"m": ones, "n": others}, lanes=count, threads=count, wait_s=0.0)
        work = [asked(lanes, 600), asked(lanes, 600, model="n"), asked(lanes, 600), asked(lanes, 600, model="n")]
        for held in (ones, others):
            held.go.release(10)
        await asyncio.gather(*work)
        assert ones.seen == others.seen == [[600], [600]]

    asyncio.run(scenario())
