"""What the sandbox child gives up before it touches a document. Runs inside the child, once, and cannot be undone.

    rlimits     memory of each process, size of each file, open files, no core dumps; always
    netns       a network namespace of its own without any interface (alone, or inside a user namespace)
    landlock-N  reads only the listed paths, writes only its scratch folder, no TCP (N ≥ 4), no signals and no
                abstract sockets to processes outside (N ≥ 6); N is the kernel's version of Landlock
    seccomp     no sockets of any kind, no ptrace, mounts, keys, namespaces, io_uring, leaving the process group …

Each part is taken where the kernel has it; ``enter`` says which were, joined by ``+``, or ``rlimits only``. Without
landlock the child could read what its user may read, and signal that user's processes; without seccomp and netns it
could reach the network. Capabilities go and no_new_privs comes with every level on Linux.

What this does not do: hide the time, the CPU or the system's programs from the child, limit what it computes, or
protect against a bug in the kernel itself.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from pathlib import Path

_DATA_SLACK = 256 << 20
"""Bytes a process may reserve above the memory limit: what it uses is watched from outside, this only stops a leap."""
_OPEN_FILES = 256


def enter(*, readable: Iterable[str], scratch: str, memory_bytes: int, file_bytes: int) -> str:
    """Shuts the cage around this process and all that it will start; says what the kernel allowed.

    ``readable``: files and folders; ``scratch``: the folder that may be written. Must run before threads are started.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_DATA, memory_bytes + _DATA_SLACK)
    if not sys.platform.startswith("linux"):
        return "rlimits only"
    from stages.cage import kernel, landlock, seccomp

    _be_first_to_go()
    kernel.adopt_orphans()
    parts = ["netns"] if kernel.leave_network() else []
    kernel.no_new_privileges()
    version = landlock.restrict(readable, scratch)
    if version:
        parts.append(f"landlock-{version}")
    # Behind Landlock, root may still read an installation that belongs to another user.
    kernel.drop_capabilities(keep_read=bool(version))
    if seccomp.restrict():
        parts.append("seccomp")
    return "+".join(sorted(parts)) or "rlimits only"


def _limit(kind: int, value: int) -> None:
    """Sets soft and hard limit, never above the present hard one."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _be_first_to_go() -> None:
    """Where the machine runs out of memory, the kernel takes this process rather than the worker."""
    try:
        Path("/proc/self/oom_score_adj").write_text("900")
    except OSError:
        return  # no /proc: the kernel then goes by size
