"""SIGTERM and SIGINT end a run early but cleanly: what is finished is committed, the exit code says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stages.errors import StoppedError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Turns the first signal into ``StoppedError``, but only inside ``interruptible``: never amid a commit."""

    def __init__(self) -> None:
        self.signal: str | None = None
        self._inside = False

    def listen(self) -> None:
        """Takes the signals; again after ``ray.init``, which takes SIGTERM for itself, in Python and in C++.

        Does nothing in a thread, where Python allows no handlers.
        """
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        again, self.signal = self.signal is not None, signal.Signals(number).name
        if again:  # a second one means now
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self._inside:
            self.check()

    def check(self) -> None:
        """Raises StoppedError where a signal came."""
        if self.signal:
            raise StoppedError(f"stopped by {self.signal}; what was finished is committed, run again to go on")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A signal in this block raises at once."""
        self.check()
        self._inside = True
        try:
            yield
        finally:
            self._inside = False


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Listens for signals while a run goes on; in a thread it never stops."""
    state = Stopping()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    state.listen()
    try:
        yield state
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
