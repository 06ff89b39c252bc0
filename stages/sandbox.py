"""A killable, caged child process for native code that can hang, crash, eat memory or be taken over by a file.

``Sandbox(target, …)`` runs ``target`` in a child and answers ``call``; ``stages.sandbox_child`` says what a target is
and ``stages.cage`` what the child may not do. What can happen to a call, and what the caller gets:

    the handler raises RowError                   the same RowError
    no progress for timeout_s, or total_s is up   the child is killed, RowError(timeout_code)
    more memory than the limits allow             the child is killed, RowError(OUT_OF_MEMORY)
    the child dies, or answers what is no frame   RowError(CRASH)
    any other exception in the handler            RowError(INTERNAL), the traceback as detail

After each of these the next call works: a new child is started. The child and every program that it starts are one
process group, killed together; they die when this process dies, however it dies.

A document that takes the child over can falsify its answers, also those for later documents, until the child is
renewed after ``SandboxLimits.renew_after`` calls. It gets nothing out but through them.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import cast

from stages.errors import Code, RowError
from stages.frames import ClosedError, FrameError, Value
from stages.sandbox_process import Child, ExcessError, SandboxLimits, printable

__all__ = ["Sandbox", "SandboxLimits", "Value", "sandbox_level"]


class Sandbox:
    """One child process at a time, started at the first call. Calls from several threads wait for each other."""

    def __init__(
        self,
        target: str,
        *,
        limits: SandboxLimits | None = None,
        settings: Mapping[str, Value] | None = None,
        reads: tuple[str, ...] = (),
    ) -> None:
        """``settings`` go to the target; ``reads`` are further paths that the child may read (language data)."""
        self._target, self._settings, self._reads = target, settings or {}, reads
        self._limits = limits or SandboxLimits()
        self._lock = threading.RLock()
        self._child: Child | None = None
        self._finalizer: weakref.finalize[[], Sandbox] | None = None
        self._calls = 0

    def call(
        self,
        request: Mapping[str, Value],
        *,
        path: str | None = None,
        timeout_s: float,
        total_s: float | None = None,
        timeout_code: Code = Code.RENDER_TIMEOUT,
    ) -> dict[str, Value]:
        """The handler's answer to ``request``, every part of it checked.

        ``path``: a regular file that is handed over to the handler, to read. ``timeout_s``: longest time without
        ``progress()`` from the handler, in seconds; ``total_s``: longest time in all (None: no limit but the first).
        Raises RowError as the module says, and RuntimeError when the child does not start, which is no page's fault.
        """
        with self._lock, _opened(path) as file:
            child = self._ready()
            self._calls += 1
            try:
                kind, payload = child.ask(request, file, timeout_s=timeout_s, total_s=total_s)
            except ExcessError as error:
                raise RowError(error.code or timeout_code, str(error), detail=child.end()) from None
            except ClosedError:
                raise _death(child) from None
            except FrameError as error:
                raise RowError(Code.CRASH, f"the reader answered nonsense: {error}", detail=child.end()) from None
            except BaseException:
                child.end()  # an answer may be half read
                raise
            return self._checked(child, kind, payload)

    def close(self) -> None:
        """Ends the child and deletes its scratch folder; a later call starts another."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._child = self._finalizer = None

    def _ready(self) -> Child:
        """The running child, or a new one where there is none or the last has done its number of calls."""
        if self._child is None or self._child.ended or self._calls >= self._limits.renew_after:
            self.close()
            self._child = Child.start(self._target, self._settings, self._limits, self._reads)
            self._calls = 0
            self._finalizer = weakref.finalize(self, self._child.end)  # also at the interpreter's exit
        return self._child

    def _checked(self, child: Child, kind: str, payload: Value) -> dict[str, Value]:
        match kind, payload:
            case "answer", dict():
                return cast("dict[str, Value]", payload)
            case "refusal", [str(code), str(message), str(detail)] if code in set(Code):
                if code == Code.OUT_OF_MEMORY:
                    child.end()  # what an allocation that failed left behind is unknown
                raise RowError(Code(code), printable(message[:500]), detail=printable(detail[-8000:], keep="\n"))
            case _:
                raise RowError(Code.CRASH, "the reader answered out of turn", detail=child.end())


@cache
def sandbox_level() -> str:
    """What this machine's kernel allows of the cage, for the run record; ``stages.cage`` lists the parts."""
    child = Child.start("stages.sandbox_child:open_nothing", {}, SandboxLimits(), ())
    child.end()
    return child.level


def _death(child: Child) -> RowError:
    """Why a child is gone: of memory where its last words or its size say so."""
    said = child.end()
    how = child.how_it_ended()
    if child.was_near_memory_limit() or any(word in said for word in ("bad_alloc", "MemoryError", "out of memory")):
        return RowError(Code.OUT_OF_MEMORY, f"the reader ran out of memory ({how})", detail=said)
    return RowError(Code.CRASH, f"the reader died ({how})", detail=said)


@contextmanager
def _opened(path: str | None) -> Iterator[int | None]:
    """A descriptor of the regular file at ``path``; never waits, as opening a pipe would."""
    if path is None:
        yield None
        return
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RowError(Code.NOT_FOUND, f"{path} is gone") from None
    except PermissionError:
        raise RowError(Code.PERMISSION, f"{path} may not be read") from None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise RowError(Code.UNSUPPORTED_TYPE, f"{path} is not a regular file")
        yield file
    finally:
        os.close(file)
