"""A document as a local file: as it lies, or downloaded once for all pages that a process reads of it in a row; and a
table's image, recording or video as one, whether the table holds it or its path."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

from stages.errors import Code, MantaError, RowError
from stages.settings import Limits

_KEEP_FILES = 4
_KEEP_BYTES = 1_000_000_000
"""Downloads that a process keeps: the pages of a document come in a row, so a few are enough."""
_SCRATCH = "manta-fetch-"
_LONGEST_PATH = 4096


@contextmanager
def fetched(uri: str, size: int | None, limits: Limits) -> Iterator[Path]:
    """The document as a local file, only to be read, for the time of the block. ``size`` is as listed, in bytes.

    Raises RowError: ``not_found``, ``permission``, ``too_large``, ``empty``, or ``internal`` where the storage fails.
    """
    try:
        if uri.startswith("s3://"):
            _check_size(uri, size, limits)
            path = _downloads().path(uri, size, limits)
        else:
            path = local_path(uri)
            if "\0" in str(path):  # from a table's uri column; no file is called so
                raise RowError(Code.NOT_FOUND, f"no file can be called {uri!r}")
            _check_size(uri, path.stat().st_size, limits)
            if not path.is_file():
                raise RowError(Code.UNSUPPORTED_TYPE, f"not a file: {uri}")
            with path.open("rb"):
                pass  # a file that may not be read is told here, whoever opens it later
    except FileNotFoundError as error:
        raise RowError(Code.NOT_FOUND, f"gone since it was listed: {uri}", detail=str(error)) from error
    except PermissionError as error:
        raise RowError(Code.PERMISSION, f"no read access: {uri}", detail=str(error)) from error
    except (OSError, MantaError) as error:
        raise RowError(Code.INTERNAL, f"cannot be fetched: {uri}", detail=f"{type(error).__name__}: {error}") from error
    yield path


@contextmanager
def given(value: object, column: str, limits: Limits) -> Iterator[Path]:
    """What a table has in ``column``, a file's bytes or a file's path, as a local file for the time of the block.

    Raises RowError: ``encode_failed`` for a null, ``too_large``, and what ``fetched`` raises.
    """
    if not isinstance(value, bytes) or not value:
        raise RowError(Code.ENCODE_FAILED, f"the column {column!r} is null")
    named = path_of(value)
    if named is not None:
        with fetched(named, None, limits) as path:
            yield path
        return
    _check_size(f"a value of {column!r}", len(value), limits)
    with tempfile.TemporaryDirectory(prefix="manta-") as folder:
        path = Path(folder, column)
        path.write_bytes(value)
        yield path


def path_of(value: bytes) -> str | None:
    """The path that a value is, where it is one: printable text, which no media file begins with."""
    if len(value) > _LONGEST_PATH:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and not text.startswith("%PDF") else None


def local_path(uri: str) -> Path:
    """The path of a local document: a plain path, or ``file://`` where its name is not text."""
    if uri.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))
    return Path(uri)


def _check_size(uri: str, size: int | None, limits: Limits) -> None:
    if size is None:
        return
    if size == 0:
        raise RowError(Code.EMPTY, f"the file has no bytes: {uri}")
    if size > limits.file_mb * 1e6:
        message = f"{size / 1e6:.1f} MB, limits.file_mb is {limits.file_mb:g}: {uri}"
        raise RowError(Code.TOO_LARGE, message)


class _Downloads:
    """The last few S3 objects that this process downloaded."""

    def __init__(self) -> None:
        _remove_left_behind()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._kept: OrderedDict[tuple[str, int | None], Path] = OrderedDict()
        self._number = 0

    def path(self, uri: str, size: int | None, limits: Limits) -> Path:
        """Where the object lies, downloaded where it is not among the last ones."""
        key = (uri, size)
        if key not in self._kept:
            self._kept[key] = self._download(uri, limits)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEEP_FILES or (len(self._kept) > 1 and self._bytes() > _KEEP_BYTES):
            self._kept.popitem(last=False)[1].unlink(missing_ok=True)
        return self._kept[key]

    def _bytes(self) -> int:
        return sum(path.stat().st_size for path in self._kept.values())

    def _download(self, uri: str, limits: Limits) -> Path:
        """Downloads no more than the limit, whatever the listing said."""
        from stages.storage_s3 import file_system, split, told

        self._number += 1
        path = self._folder / f"{self._number}{Path(uri).suffix.lower()[:10]}"
        try:
            with told(split(uri)[0]), file_system().open("/".join(split(uri)), "rb", cache_type="readahead") as source:
                _check_size(uri, source.size, limits)
                with path.open("wb") as target:
                    shutil.copyfileobj(source, target, 2**22)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


@cache
def _downloads() -> _Downloads:
    return _Downloads()


def _remove_left_behind() -> None:
    """Scratch folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        pid = folder.name.removeprefix(_SCRATCH).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)
