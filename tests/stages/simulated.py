"""A simulated store and drivers for the property test of the commit and resume protocol.

Drivers run the project's own code (lease, ledger, write, fold, finish) in threads; every operation on the store waits
for the schedule's turn, so that any interleaving of several drivers, and a crash before or after any write, can be
played and played again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pyarrow as pa

from stages.storage import Entry, Storage


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


class MemoryStorage(Storage):
    """Objects in memory, shared by all drivers of a world."""

    def __init__(self) -> None:
        self.uri = "memory"
        self.objects: dict[str, tuple[bytes, str]] = {}
        self._writes = 0

    def _version(self) -> str:
        self._writes += 1
        return str(self._writes)

    def list(self, prefix: str) -> Iterator[Entry]:
        for name, (data, version) in sorted(self.objects.items()):
            if name.startswith(prefix):
                yield Entry(name=name, size=len(data), version=version)

    def read(self, name: str) -> bytes:
        try:
            return self.objects[name][0]
        except KeyError:
            raise FileNotFoundError(name) from None

    def put(self, name: str, data: bytes) -> str:
        version = self._version()
        self.objects[name] = (data, version)
        return version

    def put_if_absent(self, name: str, data: bytes) -> bool:
        if name in self.objects:
            return False
        self.put(name, data)
        return True

    def replace(self, name: str, data: bytes | None, version: str) -> str | None:
        if name not in self.objects or self.objects[name][1] != version:
            return None
        if data is None:
            del self.objects[name]
            return ""
        return self.put(name, data)

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def open_input(self, name: str, size: int | None = None) -> AbstractContextManager[pa.NativeFile]:
        return pa.BufferReader(self.read(name))


@dataclass
class Turns:
    """Hands the store to one driver at a time, in an order drawn from the seed."""

    rng: random.Random
    weights: dict[str, float] = field(default_factory=dict)
    """How often a driver gets its turn, against 1 of the others: a slow one is a sleeper."""
    ready: dict[str, threading.Event] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    condition: threading.Condition = field(default_factory=threading.Condition)

    def start(self, name: str, body: Callable[[], None]) -> threading.Thread:
        self.ready[name] = threading.Event()

        def run() -> None:
            try:
                body()
            finally:
                with self.condition:
                    del self.ready[name]
                    self.waiting.discard(name)
                    self.condition.notify_all()

        return threading.Thread(target=run, name=name, daemon=True)

    def wait(self, name: str) -> None:
        """A driver asks for the store; returns when it is its turn."""
        event = self.ready[name]
        with self.condition:
            self.waiting.add(name)
            self.condition.notify_all()
        event.wait()
        event.clear()

    def play(self) -> None:
        """Grants turns until no driver is left."""
        while True:
            with self.condition:
                self.condition.wait_for(lambda: len(self.waiting) == len(self.ready))
                if not self.ready:
                    return
                names = sorted(self.waiting)
                (name,) = self.rng.choices(names, [self.weights.get(one, 1.0) for one in names])
                self.waiting.discard(name)
                event = self.ready[name]
            event.set()


class DriverStorage(Storage):
    """One driver's way to the shared store: takes turns, and dies at its appointed write."""

    parallel = 1  # so that turns decide everything

    def __init__(self, shared: MemoryStorage, turns: Turns, name: str, dies_at: int | None, after: bool) -> None:
        self.uri = shared.uri
        self._shared, self._turns, self._name = shared, turns, name
        self._left, self._after = dies_at, after
        self._one_at_a_time = threading.Lock()  # the driver's own reading threads
        self.dead = False
        self.steps = 0

    def _step(self, act: Callable[[], object]) -> object:
        with self._one_at_a_time:
            return self._turn(act)

    def _turn(self, act: Callable[[], object]) -> object:
        self._turns.wait(self._name)
        self.steps += 1
        if self.dead:
            raise Crash
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self.dead = True
                if self._after:
                    act()
                raise Crash
        return act()

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._step(lambda: list(self._shared.list(prefix)))  # type: ignore[misc]

    def read(self, name: str) -> bytes:
        return self._step(lambda: self._shared.read(name))  # type: ignore[return-value]

    def put(self, name: str, data: bytes) -> str:
        return self._step(lambda: self._shared.put(name, data))  # type: ignore[return-value]

    def put_if_absent(self, name: str, data: bytes) -> bool:
        return bool(self._step(lambda: self._shared.put_if_absent(name, data)))

    def replace(self, name: str, data: bytes | None, version: str) -> str | None:
        return self._step(lambda: self._shared.replace(name, data, version))  # type: ignore[return-value]

    def delete(self, name: str) -> None:
        self._step(lambda: self._shared.delete(name))

    def open_input(self, name: str, size: int | None = None) -> AbstractContextManager[pa.NativeFile]:
        return self._step(lambda: self._shared.open_input(name, size))  # type: ignore[return-value]
