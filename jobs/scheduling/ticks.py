"""When a schedule is due: cron with a time zone (cronsim), and a clock that can be another one in tests."""

from __future__ import annotations

import difflib
import time
import zoneinfo
from datetime import UTC, datetime
from typing import Protocol

from jobs.extras import need
from jobs.stopping import Stopping
from stages.errors import UsageError

_NAP_S = 30.0
"""Longest sleep, in seconds: a machine that slept, or whose clock was set, is noticed within it."""


class Clock(Protocol):
    """Time as a schedule sees it."""

    def now(self) -> datetime:
        """The time, in UTC."""

    def wait_until(self, moment: datetime, stop: Stopping) -> None:
        """Returns at ``moment``, or at once where that is past. Raises StoppedError on a signal."""


class MachineClock:
    """This machine's clock."""

    def now(self) -> datetime:
        """See Clock."""
        return datetime.now(UTC)

    def wait_until(self, moment: datetime, stop: Stopping) -> None:
        """See Clock."""
        while True:
            left = (moment - self.now()).total_seconds()
            if left <= 0:
                stop.check()
                return
            with stop.interruptible():
                time.sleep(min(left, _NAP_S))


class Cron:
    """A cron expression in a time zone. Around a change to or from summer time it does as Debian's cron does."""

    def __init__(self, expression: str, time_zone: str) -> None:
        """Raises UsageError for an expression or a zone that there is not."""
        need("manta schedule", ("cronsim",), "submit")
        from cronsim import CronSim, CronSimError

        self._simulate = CronSim
        self.expression, self.zone = expression, _zone(time_zone)
        try:
            CronSim(expression, datetime.now(self.zone))
        except CronSimError as error:
            raise UsageError(
                f"schedule.cron {expression!r}: {error}; it has five fields: minute, hour, day of month, month, "
                "day of week, as in 30 2 * * 1-5"
            ) from error

    def after(self, moment: datetime) -> datetime:
        """The first tick after ``moment``, in UTC. Raises UsageError where none ever comes."""
        try:
            return next(self._simulate(self.expression, moment.astimezone(self.zone))).astimezone(UTC)
        except StopIteration as error:
            raise UsageError(f"schedule.cron {self.expression!r} never comes, such as a 30 February") from error

    def between(self, start: datetime, end: datetime, most: int = 1000) -> int:
        """How many ticks are after ``start`` and not after ``end``; counts no further than ``most``."""
        count, tick = 0, self.after(start)
        while tick <= end and count < most:
            count, tick = count + 1, self.after(tick)
        return count


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        known = sorted(zoneinfo.available_timezones())
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f"the nearest is {near[0]}" if near else "this machine knows none: pip install tzdata"
        raise UsageError(f"schedule.time_zone: there is no {name!r}; {hint}") from error
