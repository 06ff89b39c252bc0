"""How far a run is: one live line on a terminal, a log line every ten seconds elsewhere, on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console

from jobs import logs
from jobs.record import RunRecord

if TYPE_CHECKING:
    from rich.live import Live

EVERY_S = 10.0
"""Seconds between two log lines."""


class Progress:
    """Tells a person how a run goes. ``start``, then ``update`` as often as there is news, then ``close``."""

    def __init__(self, console: Console, *, every_s: float = EVERY_S) -> None:
        """``every_s``: seconds between log lines where ``console`` is no terminal."""
        self._console = console
        self._every_s = every_s
        self._live: Live | None = None
        self._started = self._told = 0.0

    @classmethod
    def quiet(cls) -> Progress:
        """One that says nothing."""
        return cls(Console(stderr=True, quiet=True))

    @classmethod
    def standard_error(cls) -> Progress:
        """The command line's."""
        return cls(Console(stderr=True, soft_wrap=True))

    def start(self, record: RunRecord) -> None:
        """The run begins."""
        self._started = self._told = time.monotonic()
        if record.notice:
            self.say(record.notice)
        if self._console.is_terminal and not self._console.quiet and not logs.as_json():
            from rich.live import Live

            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
            self._tell(record)

    def update(self, record: RunRecord) -> None:
        """Counts may have changed."""
        if self._live is not None or time.monotonic() - self._told >= self._every_s:
            self._tell(record)

    def say(self, line: str) -> None:
        """One line that stays, above the live one."""
        self._console.print(logs.line(line), markup=False, highlight=False)

    def close(self) -> None:
        """The run is over; may be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _tell(self, record: RunRecord) -> None:
        self._told = time.monotonic()
        line = describe(record, self._told - self._started)
        if self._live is not None:
            from rich.spinner import Spinner

            self._live.update(Spinner("dots", text=line))
        else:
            self.say(f"{time.strftime('%H:%M:%S')}  {line}")


def describe(record: RunRecord, seconds: float) -> str:
    """The line: documents, pages, pages/s, error rows, time left; ``seconds`` since the start."""
    counts, pages = record.documents, record.pages.ok + record.pages.failed
    done = counts.ok + counts.partial + counts.failed
    parts = [f"documents {done + counts.skipped:,} of {counts.listed:,}"]
    if counts.skipped:
        parts[0] += f" ({counts.skipped:,} done before)"
    parts += [f"{pages:,} pages", f"{record.pages_per_second:.1f} pages/s"]
    failed = sum(record.errors.values())
    parts += [f"{failed:,} error rows"] if failed else []
    todo = counts.listed - counts.skipped - done
    if done and todo > 0:
        parts.append(f"{clock(seconds / done * todo)} left")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """A time span for people: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
