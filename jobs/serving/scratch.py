"""A folder for files from requests, which goes with its process: a process that is killed leaves it to the next one.

A folder belongs to a process as long as that holds its lock (flock(2)), whatever number the process has.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "manta-serve-"


class Scratch:
    """An empty folder of this process's own below the folder for temporary files."""

    def __init__(self) -> None:
        """Also clears away what processes that are gone have left."""
        above = Path(tempfile.gettempdir())
        for path in above.glob(f"{PREFIX}*"):
            _remove_if_left(path)
        self._lock = -1
        while self._lock < 0:  # again where another process has taken the new folder for one that was left
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = _locked(self.folder)
        self._count = 0

    def path(self) -> Path:
        """A name of ours: nothing of what a stranger calls a file becomes part of a path."""
        self._count += 1
        return self.folder / f"{self._count}"

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _locked(folder: Path) -> int:
    """The descriptor that holds the folder's lock; -1 where it is another's, or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return -1


def _remove_if_left(folder: Path) -> None:
    descriptor = _locked(folder)
    if descriptor >= 0:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
