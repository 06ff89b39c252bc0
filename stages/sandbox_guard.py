"""The process between the worker and the sandbox child: it outlives both, kills what is left, and cleans up.

    worker ── guard (waits; outside the cage) ── child (caged, a process group) ── pdftoppm, tesseract …

The guard waits for the first of two ends: the worker's (the pipe ``life`` closes, whether by ``Child.end`` or because
the worker was killed) or the child's. Then it kills the child's whole group, reaps everything, deletes the scratch
folder and exits with the child's status. PR_SET_PDEATHSIG would not do: it goes by the worker's thread rather than
its process, and does not reach the programs that the child started.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal

_LOOK_EVERY_S = 0.05
"""Only where the kernel has no pidfd (before Linux 5.3)."""


def fork_child(life: int, channel: int) -> None:
    """Returns in the child, the leader of a new process group; the guard stays in here and ends here.

    ``life``: read end of a pipe that the worker holds open and never writes; ``channel``: the child's socket.
    """
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)  # a terminal or a shutdown addresses the worker, which ends us when done
    child = os.fork()
    if child == 0:
        os.close(life)
        os.setpgid(0, 0)
        return
    status = 1
    try:
        os.close(channel)  # so that the worker sees the end of the child as the end of the socket
        status = _watch(child, life)
    finally:
        os._exit(status)


def _watch(child: int, life: int) -> int:
    with contextlib.suppress(OSError):  # the child does the same; who comes second is told so
        os.setpgid(child, child)
    from stages.cage import kernel

    kernel.adopt_orphans()
    _wait_for_an_end(child, life)
    # Unreaped, the child keeps its number and its group's, so this cannot hit a stranger.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    shutil.rmtree(os.getcwd(), ignore_errors=True)  # noqa: PTH109
    return code if code >= 0 else 128 - code


def _wait_for_an_end(child: int, life: int) -> None:
    ends = select.poll()
    ends.register(life, select.POLLIN)  # POLLHUP comes unasked
    try:
        ends.register(os.pidfd_open(child), select.POLLIN)
        ends.poll()
    except OSError:
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if ends.poll(_LOOK_EVERY_S * 1000):
                return
