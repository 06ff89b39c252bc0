"""The parent's end of one sandbox child: starts it with a bare environment, watches its limits, kills its group."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages import frames
from stages.errors import Code
from stages.frames import Value
from stages.hardware import LARGEST_MMAP_THRESHOLD
from stages.sandbox_paths import import_paths, readable_paths
from stages.sandbox_usage import folder_bytes, group_usage

_CHECK_EVERY_S = 0.03
_SAID_BYTES = 4_000
_END_S = 10.0
"""Longest wait for the guard to have killed and cleaned up; it takes milliseconds unless the machine hangs."""
_STARTS = 3
"""How often a child is started that somebody kills while it starts."""

_BOOT = """import sys, json
sys.path[:] = json.loads(sys.argv[1])
from stages.sandbox_child import main
main(int(sys.argv[2]), int(sys.argv[3]))"""

#: All that the child sees of the environment. TESSDATA_PREFIX and the loader's path say where libraries and data are.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "TZ")
_SET = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1"}
_SET |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# glibc keeps what an image took for the next one: taken anew from the kernel it costs a third of the time of decoding a
# photograph on a virtual machine (2.6 of 9.6 ms). What stays is bounded, and counts towards ``memory_mb``.
_SET |= {"MALLOC_MMAP_THRESHOLD_": str(LARGEST_MMAP_THRESHOLD), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """What a child may use."""

    memory_mb: int = 1_100
    """Memory of the child and the programs it starts, together, in 2^20 bytes."""
    scratch_mb: int = 4_096
    """Its scratch folder, where the newest FILES_KEPT documents are copied, and any one file in it, in 2^20 bytes."""
    processes: int = 32
    """Processes in its group, itself counted."""
    renew_after: int = 1_000
    """Calls after which a new child takes over, so that what leaked or was planted does not stay."""
    start_s: float = 60.0
    """Seconds in which the target must have loaded."""


class ExcessError(Exception):
    """The child went over a limit; ``code`` is None for one of time."""

    def __init__(self, message: str, code: Code | None = None) -> None:
        super().__init__(message)
        self.code = code


class Child:
    """One process group behind a socket, from its start to its end."""

    def __init__(self, import_from: Sequence[str], limits: SandboxLimits) -> None:
        """Starts the process; ``start`` also waits until its target has loaded. Raises OSError if it cannot."""
        self._limits = limits
        self.ended = False
        self.level = ""
        """What the kernel allowed of the cage."""
        self._said = b""
        self._peak_bytes = 0
        self._owner, self._pid = os.getpid(), 0
        self._poll = select.poll()
        self._scratch = tempfile.mkdtemp(prefix="manta-sandbox-")
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        life, self._life = os.pipe()
        self._errors, errors = os.pipe()
        os.set_blocking(self._errors, False)
        fds = (theirs.fileno(), life)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _BOOT, json.dumps(import_from), *map(str, fds)],
                env=_environment(self._scratch),
                cwd=self._scratch,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=fds,
                start_new_session=True,
            )
        except OSError:
            self._channel.close()
            os.close(self._life)
            os.close(self._errors)
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        finally:
            theirs.close()
            os.close(life)
            os.close(errors)

    @classmethod
    def start(
        cls,
        target: str,
        settings: Mapping[str, Value],
        limits: SandboxLimits,
        reads: tuple[str, ...],
        *,
        tries: int = _STARTS,
    ) -> Child:
        """A child whose target has loaded; one that is killed before that had read nothing yet: another is started.

        Raises RuntimeError with its last words when that fails.
        """
        readable = readable_paths(target, reads)
        child = cls(import_paths(target), limits)
        hello: dict[str, Value] = {
            "target": target,
            "settings": settings,
            "readable": readable,
            "memory_bytes": limits.memory_mb << 20,
            "file_bytes": limits.scratch_mb << 20,
        }
        try:
            child._begin(limits.start_s, None)
            frames.send(child._channel, "hello", hello, wait=child._wait_to_send)
            child._ready(*frames.receive(child._channel, frames.FrameLimits(), wait=child._wait_to_receive))
        except (ExcessError, frames.ClosedError, frames.FrameError) as error:
            said, ended = child.end(), child.how_it_ended()
            unasked = isinstance(error, frames.ClosedError)  # else it was ended here
            if tries > 1 and unasked and ended == "SIGKILL":
                return cls.start(target, settings, limits, reads, tries=tries - 1)
            told = f"{error} ({ended})" if unasked else str(error)
            raise RuntimeError(f"the sandbox of {target} does not start: {told}\n{said}") from error
        except BaseException:
            child.end()
            raise
        return child

    def _ready(self, kind: str, payload: Value) -> None:
        match kind, payload:
            case "ready", [str(level), int(pid)]:  # nothing from outside has been read yet: this can be believed
                self.level, self._pid = level, pid
            case _:
                raise frames.FrameError("answered out of turn")

    def ask(
        self, request: Mapping[str, Value], file: int | None, *, timeout_s: float, total_s: float | None
    ) -> tuple[str, Value]:
        """Sends one call and gives the frame that ends it. Raises ExcessError, ClosedError, FrameError."""
        self._begin(timeout_s, total_s)
        frames.send(self._channel, "call" if file is None else "call with file", request, wait=self._wait_to_send)
        if file is not None:
            frames.send_file(self._channel, file, self._wait_to_send)
        while True:
            kind, payload = frames.receive(self._channel, frames.FrameLimits(), wait=self._wait_to_receive)
            if kind != "progress":
                return kind, payload
            self._silent_at = time.monotonic() + timeout_s
            self._check()

    def end(self) -> str:
        """Kills the whole group, frees everything, and gives the last words that it wrote. May be called twice."""
        if not self.ended and os.getpid() == self._owner:  # a fork of the worker must not end the worker's child
            self.ended = True
            self._channel.close()
            os.close(self._life)  # the guard sees it, kills the group and cleans up
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.returncode < 0 and self._pid:  # the guard itself was killed
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._pid, signal.SIGKILL)
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._listen()
            os.close(self._errors)
        return printable(self._said.decode("utf-8", "replace"), keep="\n")

    def how_it_ended(self) -> str:
        """The signal or exit status of an ended child, in words."""
        status = self._process.returncode
        number = -status if status < 0 else status - 128
        return signal.Signals(number).name if number in set(signal.Signals) else f"exit status {status}"

    def was_near_memory_limit(self) -> bool:
        """Whether the group held most of what it may, when last looked at."""
        return self._peak_bytes > 0.8 * (self._limits.memory_mb << 20)

    def _begin(self, timeout_s: float, total_s: float | None) -> None:
        now = time.monotonic()
        self._timeout_s, self._total_s = timeout_s, total_s
        self._silent_at, self._over_at = now + timeout_s, now + (total_s or math.inf)
        self._check_at, self._peak_bytes = now + _CHECK_EVERY_S, 0
        self._listen()
        self._said = b""

    def _wait_to_send(self) -> None:
        self._wait(select.POLLOUT)

    def _wait_to_receive(self) -> None:
        self._wait(select.POLLIN)

    def _wait(self, event: int) -> None:
        """Until the socket is ready; looks at the limits on the way."""
        self._poll.register(self._channel, event)
        self._check()
        while not self._poll.poll(_CHECK_EVERY_S * 1000):
            self._check()

    def _check(self) -> None:
        """Raises ExcessError when the group is over a limit; looks only every ``_CHECK_EVERY_S``."""
        now = time.monotonic()
        if now > self._over_at:
            raise ExcessError(f"took longer than {self._total_s:g} s")
        if now > self._silent_at:
            raise ExcessError(f"no progress for {self._timeout_s:g} s")
        if now < self._check_at:
            return
        self._check_at = now + _CHECK_EVERY_S
        self._listen()
        usage = group_usage(self._pid or self._process.pid)
        self._peak_bytes = max(self._peak_bytes, usage.memory_bytes)
        if usage.processes > self._limits.processes:
            raise ExcessError(f"started more than {self._limits.processes} processes", Code.CRASH)
        if usage.memory_bytes > self._limits.memory_mb << 20:
            raise ExcessError(f"needed more than {self._limits.memory_mb} MB of memory", Code.OUT_OF_MEMORY)
        if folder_bytes(self._scratch) > self._limits.scratch_mb << 20:
            raise ExcessError(f"wrote more than {self._limits.scratch_mb} MB of files", Code.OUT_OF_MEMORY)

    def _listen(self) -> None:
        """Reads what the child wrote to its standard error, so that it never waits for us; keeps the end."""
        for _ in range(32):
            try:
                said = os.read(self._errors, 1 << 16)
            except BlockingIOError:
                return
            if not said:
                return
            self._said = (self._said + said)[-_SAID_BYTES:]


def printable(text: str, keep: str = "") -> str:
    """The text without control characters: what a taken-over child says must not steer a terminal."""
    return "".join(char if char.isprintable() or char in keep else " " for char in text)


def _environment(scratch: str) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, **_SET, "HOME": scratch, "TMPDIR": scratch, "XDG_CACHE_HOME": scratch}
