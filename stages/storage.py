"""Where a run's output lies: a local folder or an S3 prefix, behind the few operations that the commit protocol needs.

An object appears whole or not at all. Locally it is written aside (a hidden ``.tmp`` file), synced and renamed; on S3
it is one PUT. ``put_if_absent`` and ``replace`` are the two conditional writes that leases and clean-up stand on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from urllib.parse import unquote, urlparse

import pyarrow as pa

from stages.errors import MantaError, UsageError

_STALE_S = 3600.0
"""Age in seconds at which a temporary file of another machine counts as left behind."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One stored object."""

    name: str
    """Path below the storage's root, parts joined by ``/``."""
    size: int
    """Bytes."""
    version: str
    """Changes whenever the content is written anew."""


class Storage(ABC):
    """Named objects below one root. Missing objects raise FileNotFoundError; what a person must mend, MantaError."""

    uri: str
    parallel = 2
    """Objects worth reading at once: as many as hide the time that a request takes."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects in the folder ``prefix`` (``results/``), by name; nothing hidden, nothing half-written."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole object."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> str:
        """Writes the object whole, over whatever was there; returns its version."""

    @abstractmethod
    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Writes it only where the name is free; says whether it did. ``data`` must be the caller's alone."""

    @abstractmethod
    def replace(self, name: str, data: bytes | None, version: str) -> str | None:
        """Writes it (deletes it for None) only where it still has that version. Returns the new version (empty once
        deleted), or None where it was another one."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Removes the object; it may be gone already."""

    @abstractmethod
    def open_input(self, name: str, size: int | None = None) -> AbstractContextManager[pa.NativeFile]:
        """For reading some columns of a Parquet file; ``size`` (bytes), where known, saves a request."""

    def sweep(self) -> int:
        """Removes what dead writers left half-written; returns how many."""
        return 0


def open_storage(uri: str) -> Storage:
    """The storage at a local path, ``file://`` or ``s3://bucket/prefix``. Touches nothing yet."""
    scheme = urlparse(uri).scheme
    if scheme == "s3":
        from stages.storage_s3 import S3Storage

        return S3Storage(uri)
    if scheme == "file":
        return LocalStorage(Path(unquote(urlparse(uri).path)))
    if "://" in uri:
        raise UsageError(f"cannot store at {uri}: give a local folder or an s3:// prefix")
    return LocalStorage(Path(uri).absolute())


class LocalStorage(Storage):
    """A folder. Renames are ordered by a lock file, so that ``replace`` cannot run over a newer write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def list(self, prefix: str) -> Iterator[Entry]:
        """See Storage."""
        try:
            found = sorted(os.scandir(self.root / prefix), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for one in found:
            if not one.name.startswith(".") and one.is_file():
                with suppress(FileNotFoundError):
                    stat = one.stat()
                    yield Entry(name=f"{prefix}{one.name}", size=stat.st_size, version=_version(stat))

    def read(self, name: str) -> bytes:
        """See Storage."""
        return (self.root / name).read_bytes()

    def put(self, name: str, data: bytes) -> str:
        """See Storage."""
        with self._written_aside(name, data) as (aside, target), self._lock(fcntl.LOCK_SH):
            version = _version(aside.stat())
            aside.replace(target)
        return version

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """See Storage."""
        with self._written_aside(name, data) as (aside, target):
            try:
                os.link(aside, target)  # fails where the name is taken, and shows the content whole
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
                    raise
                return _create(target, data)
        return True

    def replace(self, name: str, data: bytes | None, version: str) -> str | None:
        """See Storage."""
        if data is None:
            with self._lock(fcntl.LOCK_EX):
                if not self._has(name, version):
                    return None
                (self.root / name).unlink()
                return ""
        with self._written_aside(name, data) as (aside, target), self._lock(fcntl.LOCK_EX):
            if not self._has(name, version):
                return None
            version = _version(aside.stat())
            aside.replace(target)
            return version

    def delete(self, name: str) -> None:
        """See Storage."""
        (self.root / name).unlink(missing_ok=True)

    def open_input(self, name: str, size: int | None = None) -> AbstractContextManager[pa.NativeFile]:
        """See Storage."""
        del size
        opened: AbstractContextManager[pa.NativeFile] = pa.OSFile(str(self.root / name))
        return opened

    def sweep(self) -> int:
        """Removes temporary files whose writer is dead, or an hour old where it ran elsewhere."""
        removed = 0
        for folder in (self.root, *(path for path in self._folders())):
            for path in folder.glob(".*.tmp"):
                if _left_behind(path):
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from (Path(one.path) for one in os.scandir(self.root) if one.is_dir(follow_symlinks=False))

    def _has(self, name: str, version: str) -> bool:
        try:
            return _version((self.root / name).stat()) == version
        except FileNotFoundError:
            return False

    @contextmanager
    def _written_aside(self, name: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        """(the synced temporary file, where it belongs); the temporary file is gone afterwards."""
        target = self.root / name
        aside = target.parent / f".{target.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield aside, target
            _sync_folder(target.parent)
        except OSError as error:
            raise _told(error, target) from error
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """Held for one rename: shared by plain writes, alone for conditional ones."""
        handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # a file system without locks: the lease alone must do
                fcntl.flock(handle, kind)
            yield
        finally:
            os.close(handle)


def _version(stat: os.stat_result) -> str:
    return f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"


def _create(target: Path, data: bytes) -> bool:
    """Where hard links are missing: exclusive creation; a crash amid it leaves a torn file."""
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def _told(error: OSError, target: Path) -> Exception:
    """What a person must mend, in one line; other errors as they are."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return MantaError(f"no space left for {target}: free some and run again; nothing half-written was left")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return MantaError(f"cannot write {target}: get write access to {target.parent}, or choose another --output")
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return MantaError(f"cannot write {target}: a file stands where a folder is needed; choose another --output")
    return error


def _host() -> str:
    return socket.gethostname().replace(".", "-")[:32] or "host"


def _left_behind(path: Path) -> bool:
    try:
        host, pid = path.name.rsplit(".", 4)[1:3]
        if host == _host() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            return True
        return time() - path.stat().st_mtime > _STALE_S
    except (ValueError, FileNotFoundError):
        return False


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
