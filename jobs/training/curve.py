"""The curve as the driver hears it: points that rank 0 sends are told to the person and to MLflow, each once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.util.queue import Queue

Point = tuple[int, dict[str, float]]
"""A step, and what is known of it by name."""
EVERY_S = 10.0
"""Losses are said at most this often, in seconds."""


class Curve:
    """What came so far, and who is told of it."""

    def __init__(self, say: Callable[[str], None], track: Callable[[Mapping[str, float], int], None]) -> None:
        self._say, self._track = say, track
        self._began, self._told = time.monotonic(), 0.0
        self.points: list[Point] = []

    def take(self, step: int, values: dict[str, float]) -> None:
        """A point. After a fault the steps since the last checkpoint are done again, and come again."""
        total = int(values.pop("steps", 0))
        if any(step == before and values.keys() == others.keys() for before, others in self.points):
            return
        self.points.append((step, values))
        self._track(values, step)
        if "loss" not in values:
            self._say(f"step {step}  " + "  ".join(f"{name} {value:.3f}" for name, value in sorted(values.items())))
        elif time.monotonic() - self._told > EVERY_S:
            self._told = time.monotonic()
            self._say(f"step {step} of {total}  loss {values['loss']:.3f}  {self._told - self._began:.0f} s")

    def lines(self) -> bytes:
        """The points as JSON lines, by step."""
        points = sorted(self.points, key=lambda one: one[0])
        return "".join(json.dumps({"step": step, **values}) + "\n" for step, values in points).encode()


@contextmanager
def listening(curve: Curve) -> Iterator[Queue]:
    """A queue for the workers; what they put there is taken into the curve as it comes."""
    from ray.util.queue import Queue

    points = Queue(actor_options={"num_cpus": 0})
    listener = threading.Thread(target=_listen, args=(points, curve), daemon=True)
    listener.start()
    try:
        yield points
    finally:
        points.put(None)
        listener.join(timeout=30)
        points.shutdown(force=True)


def _listen(points: Queue, curve: Curve) -> None:
    while (point := points.get()) is not None:
        curve.take(*point)
