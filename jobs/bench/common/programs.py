"""A program watched from outside: how long it took, the memory of each kind of its processes, and who was busy.

Memory is what a process holds itself (resident, without the object store that Ray's processes share), sampled twice
a second; a worker's counts with that of the reader in its sandbox. Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from stages.errors import MantaError

EVERY_S = 0.5
"""Seconds between two looks."""


@dataclass(kw_only=True)
class Watched:
    """What a program did."""

    began: float = field(default_factory=time.time)
    """When it was started."""
    seconds: float = 0.0
    """From its start to its end."""
    out: str = ""
    """Its standard output."""
    peaks: dict[str, int] = field(default_factory=dict)
    """Most bytes of one process at once: driver; worker, with its reader; ray, its own processes."""
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by the same kinds."""
    readers: dict[int, float] = field(default_factory=dict)
    """CPU seconds of each reader in a sandbox."""
    samples: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, CPU seconds of all its processes so far)."""

    def busy(self, start: float, end: float, cores: int) -> float:
        """Share of ``cores`` that its processes used between two moments."""
        used = [cpu for at, cpu in self.samples if start <= at <= end]
        times = [at for at, _ in self.samples if start <= at <= end]
        return (used[-1] - used[0]) / (times[-1] - times[0]) / cores if len(used) > 1 else 0.0


def manta(*arguments: str) -> list[str]:
    """The command ``manta …`` with this interpreter."""
    return [sys.executable, "-c", "from jobs.cli import program; program()", *arguments]


def run_manta(*arguments: str) -> tuple[Watched, dict[str, object]]:
    """``manta run … --json --quiet`` watched, and its record. Raises MantaError where it does not end well."""
    watched = watch(manta("run", *arguments, "--json", "--quiet"), fine=(0, 3))
    record: dict[str, object] = json.loads(watched.out)
    return watched, record


def watch(command: Sequence[str], *, fine: Sequence[int] = (0,), env: Mapping[str, str] | None = None) -> Watched:
    """Runs a program to its end. Raises MantaError with its last words where its exit code is not among ``fine``."""
    watched = Watched()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=out, stderr=errors, env=dict(env) if env else None) as process:
            done = threading.Event()
            thread = threading.Thread(target=_look, args=(process.pid, watched, start, done), daemon=True)
            thread.start()
            code = process.wait()
            watched.seconds = time.perf_counter() - start
            done.set()
            thread.join()
        out.seek(0)
        errors.seek(0)
        watched.out = out.read()
        if code not in fine:
            raise MantaError(f"{' '.join(command[:6])} … ended with {code}: {errors.read()[-2000:]}")
    return watched


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A process that has been seen."""

    kind: str
    owner: int
    """Whose memory its own counts with."""
    is_reader: bool = False


def _look(pid: int, watched: Watched, start: float, done: threading.Event) -> None:
    """Samples until the program is done."""
    cpu: dict[psutil.Process, float] = {}
    known: dict[psutil.Process, _Known] = {}
    while not done.wait(EVERY_S):
        try:
            driver = psutil.Process(pid)
            processes = [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        held: defaultdict[tuple[str, int], int] = defaultdict(int)
        for process in processes:
            try:
                if process not in known or known[process].kind == "ray":  # a worker takes its name after a while
                    known[process] = _kind(process, pid)
                one, times = known[process], process.cpu_times()
                held[one.kind, one.owner] += own_bytes(process.pid)
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile
            cpu[process] = times.user + times.system
            if one.is_reader:
                watched.readers[process.pid] = cpu[process]
        for (kind, _), size in held.items():
            watched.peaks[kind] = max(watched.peaks.get(kind, 0), size)
        watched.samples.append((time.perf_counter() - start, sum(cpu.values())))
        watched.cpu = {kind: sum(cpu[one] for one in cpu if known[one].kind == kind) for kind in watched.peaks}


def _kind(process: psutil.Process, driver: int) -> _Known:
    command = process.cmdline()
    if any("sandbox_child" in part for part in command):
        worker = next((one.pid for one in process.parents() if _is_worker(one.cmdline())), driver)
        return _Known(kind="worker", owner=worker, is_reader=True)
    kind = "driver" if process.pid == driver else "worker" if _is_worker(command) else "ray"
    return _Known(kind=kind, owner=process.pid)


def _is_worker(command: Sequence[str]) -> bool:
    return bool(command) and command[0].startswith("ray::")


def own_bytes(pid: int) -> int:
    """Resident memory of a process without what it shares with others through shared memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    kilobytes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return 1024 * sum(int(kilobytes.get(name, 0)) for name in ("RssAnon", "RssFile"))
