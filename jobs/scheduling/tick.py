"""One tick: a run in a process of its own, and what it says of it in one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jobs.logs import message_of
from jobs.stopping import Stopping
from stages.errors import MantaError, StoppedError

END_S = 60.0
"""How long a run may take to commit what is finished once it is asked to end, in seconds."""
_LINE = 400


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a tick came to."""

    exit_code: int
    """The run's; negative where a signal killed it."""
    seconds: float
    record: dict[str, object] | None = None
    """The run's record; None where it wrote none."""
    said: str = ""
    """The last thing it said, of a run without a record."""

    def __str__(self) -> str:
        return _from_record(self.record, self) if self.record else self._without_record()

    def _without_record(self) -> str:
        if self.exit_code < 0:
            name = signal.Signals(-self.exit_code).name
            return f"the run was killed ({name}) after {self.seconds:.0f} s; the next tick does what is left"
        return f"nothing was done (exit code {self.exit_code}): {self.said or 'the run said nothing'}"


def _from_record(record: dict[str, object], outcome: Outcome) -> str:
    documents, pages = record.get("documents"), record.get("pages")
    assert isinstance(documents, dict)
    assert isinstance(pages, dict)
    names = ("new", "retried", "ok", "partial", "failed", "skipped")
    counts = ", ".join(f"{documents.get(name, 0):,} {'done' if name == 'ok' else name}" for name in names)
    return (
        f"{record.get('status')}: {counts}; {pages.get('ok', 0):,} pages or rows in {outcome.seconds:.0f} s "
        f"(exit code {outcome.exit_code}, run {record.get('run_id')})"
    )


class Runner(Protocol):
    """Runs ``manta`` with some words."""

    def __call__(self, words: Sequence[str], stop: Stopping) -> Outcome:
        """Waits for its end. Raises StoppedError once a signal came and the run has ended."""


def run_apart(words: Sequence[str], stop: Stopping) -> Outcome:
    """``manta WORDS --json`` as a child: what leaks or dies there leaves the schedule alone."""
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C reaches it once, through us
    )
    try:
        out, err = _wait(child, stop)
    except StoppedError as error:
        child.terminate()
        try:
            out, err = child.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise MantaError(f"the run did not end within {END_S:g} s and was killed; run again to go on") from error
        raise StoppedError(f"{error}; the run: {_outcome(child.returncode, out, err, started)}") from error
    return _outcome(child.returncode, out, err, started)


def _wait(child: subprocess.Popen[str], stop: Stopping) -> tuple[str, str]:
    while True:
        try:
            with stop.interruptible():
                return child.communicate(timeout=3600)
        except subprocess.TimeoutExpired:
            continue


def _outcome(code: int, out: str, err: str, started: float) -> Outcome:
    try:
        record = json.loads(out) if out.strip() else None
    except ValueError:  # cut off amid its record
        record = None
    lines = [line for line in err.splitlines() if line.strip()]
    said = message_of(lines[-1]).removeprefix("manta: ")[:_LINE] if lines else ""
    seconds = round(time.monotonic() - started, 1)
    return Outcome(exit_code=code, seconds=seconds, record=record, said=said)
