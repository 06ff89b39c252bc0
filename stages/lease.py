"""One run at a time on an output: a lease that is put if absent, renewed, and lost by a dead holder.

Leases are numbered. The highest number holds; to take over from a dead holder is to put the next number, which only
one can. So no two runs can hold one number, and a holder that was asleep finds the higher one. A holder renews its own
file, which nobody else writes. ``.lease/`` keeps the last file, marked as released.

A dead holder loses the lease at once on the same machine (same boot and process namespace, process gone or its number
used again), else once it has not been renewed for its term. The clocks of two machines may differ: a lease that looks
too old is watched for a while before it is taken.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import psutil

from stages.errors import OutputBusyError, UsageError
from stages.storage import Storage

FOLDER = ".lease/"
TERM_S = 60.0
"""How long a lease lasts without being renewed, in seconds."""
_RENEWALS = 4
"""Renewals in one term."""
_DOUBTFUL = 100
"""Runs that are remembered as taken over."""
_CHECK_S = 5.0
"""A writer asks the storage at most this often whether its run still holds the lease, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease; stored as JSON."""

    run_id: str
    token: str
    """Tells apart two runs that put the same number."""
    host: str
    machine: str
    """Boot id and process namespace: within one, process ids can be compared."""
    pid: int
    started: float
    """When the process started, as the system tells it (seconds since 1970)."""
    renewed: float
    """Seconds since 1970, by the holder's clock."""
    term: float
    released: bool = False
    taken_over: tuple[str, ...] = ()
    """The last runs that lost the lease without being known dead: what they commit late is not to be trusted."""

    def __str__(self) -> str:
        return f"run {self.run_id} (process {self.pid} on {self.host})"

    @classmethod
    def me(cls, run_id: str, term: float = TERM_S) -> Holder:
        """This process as the holder."""
        return cls(
            run_id=run_id,
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            renewed=time.time(),
            term=term,
        )

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), indent=1).encode()


def dead_here(holder: Holder) -> bool:
    """Whether the holder ran on this machine and is gone."""
    if holder.machine != _machine():
        return False
    try:
        process = psutil.Process(holder.pid)
        return abs(process.create_time() - holder.started) > 1 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    first = boot.read_text().strip() if boot.exists() else f"{socket.gethostname()}-{psutil.boot_time():.0f}"
    return f"{first} {namespace.readlink()}" if namespace.exists() else first


def taken_over(storage: Storage) -> tuple[str, ...]:
    """Runs that lost the lease but may still be writing; see ``Holder.taken_over``."""
    newest = _newest(storage)
    holder = _read(storage, newest) if newest else None
    return holder.taken_over if holder else ()


def _newest(storage: Storage) -> str:
    return max((entry.name for entry in storage.list(FOLDER) if entry.name.endswith(".json")), default="")


def _read(storage: Storage, name: str) -> Holder | None:
    try:
        values = json.loads(storage.read(name))
        return Holder(**{**values, "taken_over": tuple(values.get("taken_over", ()))})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{storage.uri}/{name} is no lease: delete it where no run is at work") from error


class Fence:
    """Tells a writer whether its run still holds the lease. Cheap: asks the storage every few seconds only."""

    def __init__(self, storage: Storage, name: str, every_s: float = _CHECK_S) -> None:
        self._storage, self._name, self._every_s = storage, name, every_s
        self._asked = float("-inf")

    def check(self) -> None:
        """Raises OutputBusyError once another run has taken the lease."""
        if not self._name or time.monotonic() - self._asked < self._every_s:
            return
        names = [entry.name for entry in self._storage.list(FOLDER)]
        if self._name not in names or max(names) != self._name:
            raise OutputBusyError(f"another run has taken over {self._storage.uri}; this one stops")
        self._asked = time.monotonic()


class Lease:
    """The right to write an output; a context manager that renews it in the background."""

    def __init__(
        self,
        storage: Storage,
        holder: Holder,
        *,
        is_dead: Callable[[Holder], bool] = dead_here,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``is_dead``, ``wait`` and ``clock`` (seconds since 1970) are the machine's, but for tests."""
        self._storage, self._holder = storage, holder
        self._is_dead, self._wait, self._clock = is_dead, wait, clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.name = ""
        """The lease's name once it is held; goes into ``RunStamp.fence``."""

    def __enter__(self) -> Lease:
        self.acquire()
        self._thread = threading.Thread(target=self._renewing, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lease. Raises OutputBusyError naming the holder."""
        while True:
            newest = _newest(self._storage)
            last = _read(self._storage, newest) if newest else None
            doubtful: tuple[str, ...] = ()
            if last is not None:
                doubtful = self._taken_over(last)
            name = f"{FOLDER}{(int(Path(newest).stem) if newest else 0) + 1:08d}.json"
            self._holder = replace(self._holder, renewed=self._clock(), taken_over=doubtful)
            if self._storage.put_if_absent(name, self._holder.encode()):
                self.name = name
                if self._is_highest():
                    self._forget_older()
                    return
                self._storage.delete(name)  # somebody slower than this one counted from an older listing
                self.name = ""

    def check(self) -> None:
        """Raises OutputBusyError where the lease is lost. One request."""
        if not self._is_highest():
            raise OutputBusyError(f"another run has taken over {self._storage.uri}; this one stops")

    def renew(self) -> None:
        """Tells others that the holder lives."""
        self.check()
        self._holder = replace(self._holder, renewed=self._clock())
        self._storage.put(self.name, self._holder.encode())

    def release(self) -> None:
        """Gives the lease back, where it is still held."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self.name and self._is_highest():
            self._storage.put(self.name, replace(self._holder, released=True).encode())
        self.name = ""

    def _taken_over(self, last: Holder) -> tuple[str, ...]:
        """Runs that may still be writing once this one holds the lease. Raises OutputBusyError where ``last`` lives."""
        if last.released or self._is_dead(last):
            return last.taken_over
        age = self._clock() - last.renewed
        expired = not 0 <= age <= last.term
        if expired:
            self._wait(last.term / _RENEWALS * 1.5)
        if not expired or _read(self._storage, _newest(self._storage)) != last:
            raise OutputBusyError(f"{self._storage.uri} is being written by {last}; wait for it, or stop it first")
        return (*last.taken_over, last.run_id)[-_DOUBTFUL:]

    def _is_highest(self) -> bool:
        names = [entry.name for entry in self._storage.list(FOLDER)]
        if self.name not in names or max(names) != self.name:
            return False
        mine = _read(self._storage, self.name)
        return mine is not None and mine.token == self._holder.token

    def _forget_older(self) -> None:
        for entry in list(self._storage.list(FOLDER)):
            if entry.name < self.name:
                self._storage.delete(entry.name)

    def _renewing(self) -> None:
        while not self._stop.wait(self._holder.term / _RENEWALS):
            try:
                self.renew()
            except OutputBusyError:
                return  # check() tells the run
            except OSError:
                continue  # the storage is away; the term allows for some misses
