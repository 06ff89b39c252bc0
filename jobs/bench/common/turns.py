"""Contenders in turn: ours, peer, ours, peer … so that what else the machine does falls on all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.bench.common.ask import tell


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way of doing the work."""

    name: str
    seconds: Callable[[], float]
    """Does the work once and says how many seconds count."""
    turns: int = 3


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """``work`` as something that says how long it took."""

    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return seconds


def in_turn(contenders: Sequence[Contender]) -> dict[str, float]:
    """The median seconds of each contender."""
    taken: dict[str, list[float]] = {one.name: [] for one in contenders}
    for turn in range(max(one.turns for one in contenders)):
        for one in contenders:
            if turn >= one.turns:
                continue
            gc.collect()
            seconds = one.seconds()
            taken[one.name].append(seconds)
            tell(f"{one.name}, turn {turn + 1} of {one.turns}: {seconds:.2f} s")
    return {name: statistics.median(seconds) for name, seconds in taken.items()}
