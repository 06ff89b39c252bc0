"""The few Linux calls that Python lacks, through libc: prctl, unshare, capset and raw system calls."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 36, 38, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_CAP_DAC_READ_SEARCH = 2
_CAPABILITIES = 64
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def system_call(number: int, *arguments: int | ctypes.c_void_p) -> int:
    """The result of a raw system call. Raises OSError."""
    values = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *values))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def prctl(option: int, *arguments: int | ctypes.c_void_p) -> bool:
    """Whether the kernel did it."""
    values = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    values += [ctypes.c_ulong(0)] * (4 - len(values))
    return int(_libc.prctl(ctypes.c_int(option), *values)) == 0


def adopt_orphans() -> None:
    """Processes below this one whose parent ends become its own children, so that they stay countable."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """No program that is started gains rights by its file (setuid); also what Landlock and seccomp ask for."""
    if not prctl(_PR_SET_NO_NEW_PRIVS, 1):
        raise OSError(ctypes.get_errno(), "the kernel refuses no_new_privs")


def leave_network() -> bool:
    """Moves into a network namespace without interfaces; where that needs rights, inside a user namespace."""
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        return True
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        return False
    # The same user and group inside, so that files look as they do outside; without a /proc they look like nobody's.
    with contextlib.suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text)
    return True


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = tuple(
        (f"{name}{word}", ctypes.c_uint32) for word in (0, 1) for name in ("effective", "permitted", "own")
    )


def drop_capabilities(*, keep_read: bool) -> None:
    """Gives up root's special rights, all but reading whatever a path rule allows where ``keep_read``."""
    kept = 1 << _CAP_DAC_READ_SEARCH if keep_read else 0
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_CAPABILITIES):
        if not kept >> capability & 1:
            prctl(_PR_CAPBSET_DROP, capability)  # fails where we may not or it does not exist: then we lack it
    header, held = _Header(_CAPABILITY_VERSION_3, 0), _Capabilities()
    _libc.capget(ctypes.byref(header), ctypes.byref(held))
    mask = kept & held.permitted0
    wanted = _Capabilities(mask, mask, 0, 0, 0, 0)
    if _libc.capset(ctypes.byref(header), ctypes.byref(wanted)) != 0:
        raise OSError(ctypes.get_errno(), "the kernel does not let capabilities go")
