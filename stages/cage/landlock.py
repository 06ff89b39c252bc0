"""Landlock: the process reads only what is listed and writes only its scratch folder (linux/landlock.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable

from stages.cage.kernel import system_call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_GET_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FS_ACCESSES = (0, 13, 14, 15, 15, 16)
"""How many rights over files each version of Landlock knows; the newest number holds for later versions."""
_TCP = 0b11
"""Binding and connecting, from version 4."""
_SCOPES = 0b11
"""Abstract unix sockets and signals, from version 6."""

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_SCRATCH = (
    _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _REFER
    | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
)  # fmt: skip
_FOR_FILES = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict(readable: Iterable[str], scratch: str) -> int:
    """Shuts this process in; the kernel's version of Landlock, or 0 where it has none or it is switched off."""
    try:
        version = system_call(_CREATE_RULESET, 0, 0, _GET_VERSION)
    except OSError as error:
        # ENOSYS: not built in; EOPNOTSUPP: not started; EPERM: a container runtime that does not know the call.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise
    handled = (1 << _FS_ACCESSES[min(version, len(_FS_ACCESSES) - 1)]) - 1
    attributes = _Ruleset(handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = system_call(_CREATE_RULESET, _pointer(attributes), size, 0)
    try:
        for path in readable:
            _allow(rules, path, _READ & handled)
        _allow(rules, "/dev/null", (_READ_FILE | _WRITE_FILE | _TRUNCATE) & handled)
        _allow(rules, scratch, _SCRATCH & handled)
        system_call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: str, rights: int) -> None:
    """Adds a rule for a file or for all below a folder; a path that is not there needs none."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _FOR_FILES
        system_call(_ADD_RULE, rules, _PATH_BENEATH, _pointer(_PathBeneath(rights, place)), 0)
    finally:
        os.close(place)


def _pointer(structure: ctypes.Structure) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.pointer(structure), ctypes.c_void_p)
