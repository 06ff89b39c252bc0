"""``manta schedule``: one run again and again, by the clock, so that an output follows its input.

A tick covers all that were missed before it, since the machine was off or the last run took long. Two runs never
overlap on an output: here they come one after the other, and another machine's are kept off by the output's lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jobs.arguments import ScheduleArguments
from jobs.scheduling.records import drop_old, last_started
from jobs.scheduling.tick import Outcome, Runner, run_apart
from jobs.scheduling.ticks import Clock, Cron, MachineClock
from jobs.stopping import Stopping, stopping
from stages.errors import RETRYABLE_CODES
from stages.storage import open_storage

MAX_ATTEMPTS = 10
"""Attempts after which a failed row is left alone, unless ``run.max_attempts`` says otherwise. Ray's own are counted
(a page that kills its worker has four a run)."""


def words(config: str, retry: Sequence[str], max_attempts: int) -> list[str]:
    """What follows ``manta`` at each tick of the schedule in the file ``config``; ``retry`` and ``max_attempts`` are
    what it says itself (empty and 0 for what a schedule does by default)."""
    codes = ",".join(retry or sorted(RETRYABLE_CODES))
    return ["run", "--config", config, "--retry", codes, "--max-attempts", str(max_attempts or MAX_ATTEMPTS)]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is run, and when."""

    arguments: ScheduleArguments
    words: Sequence[str]
    """The command of a tick, without ``manta``."""
    output: str
    """URI of the output that the command writes."""
    say: Callable[[str], None]
    hear: Callable[[Outcome], None] = lambda _: None
    """Gets what each tick came to."""
    clock: Clock = field(default_factory=MachineClock)
    runner: Runner = run_apart

    def once(self) -> Outcome:
        """One tick, now."""
        with stopping() as stop:
            return self._tick(stop, ticks=1)

    def forever(self) -> None:
        """Tick after tick. Raises StoppedError on a signal, once a run under way has committed what is finished."""
        cron = Cron(self.arguments.cron, self.arguments.time_zone)
        last = last_started(open_storage(self.output))
        last = min(last, self.clock.now()) if last else self.clock.now()
        with stopping() as stop:
            while True:
                due = cron.after(last)
                if due > self.clock.now():
                    self.say(f"next run at {self._told(due, cron)}")
                self.clock.wait_until(due, stop)
                now = self.clock.now()
                ticks, last = cron.between(last, now), now
                self._tick(stop, ticks=ticks)

    def _tick(self, stop: Stopping, *, ticks: int) -> Outcome:
        started = self.clock.now()
        outcome = self.runner(self.words, stop)
        line = str(outcome)
        if ticks > 1:
            line += f"; stands for {ticks:,} ticks"
        dropped = drop_old(open_storage(self.output), self.arguments.keep_records)
        if dropped:
            line += f"; {dropped:,} old run records dropped"
        self.hear(outcome)
        self.say(f"{started:%Y-%m-%d %H:%M:%S}Z {line}")
        return outcome

    def _told(self, moment: datetime, cron: Cron) -> str:
        return f"{moment.astimezone(cron.zone):%Y-%m-%d %H:%M:%S %Z}"
