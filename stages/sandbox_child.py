"""The inside of the sandbox: loads a target, answers requests. Runs in a process that is treated as taken over.

A target is ``"module:callable"``. The callable is called once with the settings and returns the handler::

    def open_reader(settings: Mapping[str, Value]) -> Handler:
        def handle(request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]: ...
        return handle

* ``file`` is the path of a private copy in the scratch folder, given in calls that pass ``path=``. The newest
  ``FILES_KEPT`` copies stay until the child is renewed, so a handler may keep as many documents open and is passed the
  file only once.
* ``RowError`` is raised again in the parent; ``MemoryError`` becomes ``out_of_memory``; anything else ``internal``
  with its traceback.
* ``progress()`` tells the parent that work goes on; outside a sandbox it does nothing.
* HOME, TMPDIR and the working folder are the scratch folder, the only one that can be written.

Programs that a handler starts (pdftoppm, tesseract) are in the same cage and die with it.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import os
import resource
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, cast

from stages import cage, frames
from stages.errors import Code, RowError
from stages.frames import Value
from stages.sandbox_guard import fork_child

Handler: TypeAlias = Callable[[Mapping[str, Value], "str | None"], Mapping[str, Value]]
"""Request and, where the call passed one, the file's path → answer."""

FILES_KEPT = 4
"""Files that stay in the scratch folder; the oldest is deleted when another comes."""

_PROGRESS_EVERY_S = 0.01
_COPY_CHUNK = 32 << 20
_TOO_LARGE = "the file is larger than the sandbox's scratch_mb"


class _Line:
    """The socket to the parent; answers and progress may come from different threads."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._lock = threading.Lock()
        self._last = 0.0

    def send(self, kind: str, payload: Value) -> None:
        with self._lock:
            frames.send(self.channel, kind, payload)

    def progress(self) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S:
            self._last = now
            self.send("progress", None)


_line: _Line | None = None


def progress() -> None:
    """Says that the work goes on: starts the parent's time without progress anew. Cheap enough for inner loops."""
    if _line is not None:
        _line.progress()


def main(channel_fd: int, life_fd: int) -> None:
    """Runs the child until the parent closes the socket: hello → ready; then call → answer or refusal, one each."""
    global _line  # noqa: PLW0603  (one process, one line)
    fork_child(life_fd, channel_fd)
    faulthandler.enable()
    os.set_inheritable(channel_fd, False)
    channel, limits = socket.socket(fileno=channel_fd), frames.FrameLimits()
    files = _Files(channel)
    try:
        hello = cast("Mapping[str, Value]", frames.receive(channel, limits)[1])
        level = _enter_cage(hello)
        handler = _open(str(hello["target"]), cast("Mapping[str, Value]", hello["settings"]))
        _line = _Line(channel)
        _line.send("ready", [level, os.getpid()])
        while True:
            kind, request = frames.receive(channel, limits)
            _answer(_line, handler, cast("Mapping[str, Value]", request), files if kind == "call with file" else None)
    except frames.ClosedError:
        return


def _enter_cage(hello: Mapping[str, Value]) -> str:
    return cage.enter(
        readable=cast("list[str]", hello["readable"]),
        scratch=str(Path.cwd()),
        memory_bytes=cast("int", hello["memory_bytes"]),
        file_bytes=cast("int", hello["file_bytes"]),
    )


def _open(target: str, settings: Mapping[str, Value]) -> Handler:
    module, _, name = target.partition(":")
    return cast("Handler", getattr(importlib.import_module(module), name)(settings))


def _answer(line: _Line, handler: Handler, request: Mapping[str, Value], files: _Files | None) -> None:
    try:
        line.send("answer", handler(request, files.receive() if files else None))
    except RowError as error:
        refusal = [str(error.code), error.message, error.detail]
    except MemoryError as error:
        refusal = [str(Code.OUT_OF_MEMORY), "the reader needs more memory than it may have", repr(error)]
    except frames.ClosedError:
        raise
    except Exception as error:  # noqa: BLE001  (it goes to the parent, with its cause)
        refusal = [str(Code.INTERNAL), f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))]
    else:
        return
    line.send("refusal", [text[-20_000:].encode("utf-8", "replace").decode() for text in refusal])


class _Files:
    """Files that the parent hands over as descriptors, copied into the scratch folder so that every engine, programs
    included, can open them by path: in the cage a path outside cannot be opened again."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._kept: deque[Path] = deque()
        self._count = 0

    def receive(self) -> str:
        """The path of the copy of the file whose descriptor comes next on the socket."""
        file = frames.receive_file(self._channel)
        try:
            size, most = os.fstat(file).st_size, resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            if 0 <= most < size:
                raise RowError(Code.TOO_LARGE, _TOO_LARGE)
            self._make_room(size, most)
            self._count += 1
            path = Path.cwd() / f"file-{self._count}"
            self._kept.append(path)
            with path.open("wb", buffering=0) as copy:
                while os.sendfile(copy.fileno(), file, None, _COPY_CHUNK):
                    progress()
        except OSError as error:
            if error.errno == errno.EFBIG:  # it grew
                raise RowError(Code.TOO_LARGE, _TOO_LARGE) from None
            raise
        finally:
            os.close(file)
        return str(path)

    def _make_room(self, size: int, most: int) -> None:
        """Takes earlier copies away until ``size`` bytes leave half of the scratch folder to the engines."""
        while self._kept and (
            len(self._kept) >= FILES_KEPT
            or 0 <= most // 2 < size + sum(one.stat().st_size for one in self._kept if one.exists())
        ):
            self._kept.popleft().unlink(missing_ok=True)


def open_nothing(_settings: Mapping[str, Value]) -> Handler:
    """A target that gives back what it is asked; starts only to see how far the cage goes."""
    return lambda request, _file: request
