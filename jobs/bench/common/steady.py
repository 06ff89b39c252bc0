"""A run's speed once it is under way, from the samples in its record or from when its rows were written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from stages.errors import MantaError


@dataclass(frozen=True, kw_only=True)
class Steady:
    """The part of a run from the first commit, or the first few, to the last."""

    pages: int
    """Pages committed in it."""
    start: float
    """Seconds since the command was started."""
    end: float

    @property
    def pages_per_second(self) -> float:
        """Its speed."""
        return self.pages / (self.end - self.start)


def steady(record: Mapping[str, object], began: float, together: int = 1) -> Steady:
    """``began``: when the command was started (time.time()). Raises MantaError for a run too short to tell.

    ``together``: how many parts come at once. Where each reader commits its own, their first ones come together, and
    counting from the first of these would take the others' for work of the time after.
    """
    samples, startup, at = record["samples"], record["startup_seconds"], record["started"]
    assert isinstance(samples, list)
    assert isinstance(startup, dict)
    assert isinstance(at, str)
    if len(samples) < together + 1:
        raise MantaError(f"the run committed {len(samples)} parts only: take more pages to tell its speed")
    # The record's clock starts a moment before its preparation, which ends when ``started`` is written.
    offset = datetime.fromisoformat(at).timestamp() - startup.get("prepare", 0.0) - began
    first, last = samples[together - 1], samples[-1]
    return Steady(pages=last[1] - first[1], start=first[0] + offset, end=last[0] + offset)


def pace(committed: Iterable[tuple[datetime, float]], together: int) -> float:
    """Units a second from the first ``together`` parts to the last; ``committed``: when each row was written (``at``,
    the same for all rows of a part) and what it counts. Raises MantaError for a run too short to tell."""
    parts: defaultdict[datetime, float] = defaultdict(float)
    for at, units in committed:
        parts[at] += units
    times = sorted(parts)
    if len(times) <= together:
        raise MantaError(f"the run committed {len(times)} parts only: take more files to tell its speed")
    first = times[together - 1]
    return sum(parts[at] for at in times if at > first) / (times[-1] - first).total_seconds()
