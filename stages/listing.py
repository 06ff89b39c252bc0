"""What there is to do: the files below the inputs, as tables of uri, source, size and kind in a stable order.

An input is a local path, a folder (all files in it, however deep), a glob, ``file://`` or ``s3://`` (an object, a
prefix, a glob). Every file is listed, so that none is lost in silence: one of a type that Manta does not read has the
kind ``unsupported`` and ends in the error table. Left out are, inside folders, hidden names, the litter of operating
systems and of data tools (``JUNK``), and what is no file (sockets, pipes). Files that are named are listed whatever
they are called. A real folder is entered once, however many links lead to it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import escape, has_magic
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import quote_from_bytes

import numpy as np
import pyarrow as pa
from fsspec.utils import glob_translate

from stages.columns import schema
from stages.errors import UsageError
from stages.fetch import local_path
from stages.keys import Hashes, member, string_hashes

LISTED = schema(("uri", "source", "size", "kind"))

KINDS = {
    "pdf": ("pdf",),
    "image": ("png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp", "gif"),
    "table": ("parquet", "jsonl"),
    "audio": ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"),
    "video": ("mp4", "mov", "mkv", "webm", "avi", "m4v", "mpg", "mpeg"),
}
"""Suffixes a kind; any other is ``unsupported``."""
_KIND = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes}
JUNK = frozenset({"Thumbs.db", "desktop.ini", "_SUCCESS", "_metadata", "_common_metadata"})


Found = tuple[str, str, int]
"""One file: uri, source, size. A plain tuple: a class of its own costs a fifth of the listing of millions."""


def kind_of(uri: str) -> str:
    """The kind of a file by its suffix."""
    name = uri[uri.rfind("/") + 1 :]
    return _KIND.get(name[name.rfind(".") + 1 :].lower(), "unsupported") if "." in name else "unsupported"


def listing(inputs: Sequence[str], *, exclude: Sequence[str] = (), batch_rows: int = 50_000) -> Iterator[pa.Table]:
    """Tables of uri, source, size (bytes) and kind, of at most ``batch_rows`` rows; input by input, by name within.

    ``exclude``: folders or prefixes that are not entered (the output, where it lies inside an input).
    A file that several inputs lead to is listed once. Raises UsageError naming an input that does not exist, matches
    nothing or may not be read.
    """
    outside = [_plain(uri) for uri in exclude]
    before: list[Hashes] = []
    for number, given in enumerate(inputs):
        mine: list[Hashes] = []
        for table in _tables(_input(given, outside), batch_rows):
            new = table
            if len(inputs) > 1:
                hashes = string_hashes(table["uri"])
                known = np.zeros(len(hashes), np.bool_)
                for earlier in before:
                    known |= member(hashes, earlier)
                if number < len(inputs) - 1:
                    mine.append(hashes)
                new = table.filter(pa.array(~known))
            if new.num_rows:
                yield new
        before.append(np.sort(np.concatenate(mine)) if mine else np.zeros(0, np.uint64))


def check_inputs(inputs: Sequence[str]) -> None:
    """Raises UsageError for a local input that is not there; costs nothing, where a listing may take minutes."""
    for given in inputs:
        if not given.startswith("s3://"):
            if "://" in given and not given.startswith("file://"):
                raise UsageError(f"cannot read the input {given}: give a local path, file:// or s3://")
            path = _plain(given)
            if not has_magic(path) and not os.path.exists(path):  # noqa: PTH110
                raise UsageError(f"the input {given} does not exist")


def _tables(found: Iterable[Found], batch_rows: int) -> Iterator[pa.Table]:
    files = iter(found)
    while rows := list(islice(files, batch_rows)):
        yield _table(rows)


def _table(rows: Sequence[Found]) -> pa.Table:
    uris, sources, sizes = zip(*rows, strict=True)
    return pa.table([pa.array(column) for column in (uris, sources, sizes, map(kind_of, uris))], schema=LISTED)


def _plain(uri: str) -> str:
    """A local path made absolute; s3:// as it is; no slash at the end."""
    return uri.rstrip("/") if uri.startswith("s3://") else os.path.abspath(local_path(uri))  # noqa: PTH100


def _input(given: str, outside: Sequence[str]) -> Iterator[Found]:
    if given.startswith("s3://"):
        return _s3(given, outside)
    if "://" in given and not given.startswith("file://"):
        raise UsageError(f"cannot read the input {given}: give a local path, file:// or s3://")
    return _local(given, outside)


# ---- local


def _local(given: str, outside: Sequence[str]) -> Iterator[Found]:
    path = _plain(given)
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        if not has_magic(path):
            raise UsageError(f"the input {given} does not exist") from None
        yield from _local_glob(given, path, outside)
        return
    if stat.S_ISDIR(mode):
        yield from _Walk(outside).files(path)
    else:
        yield _stated(path)


def _local_glob(given: str, pattern: str, outside: Sequence[str]) -> Iterator[Found]:
    """Files that match, and all files in folders that match, as a shell would hand them over."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if has_magic(part))
    matches = re.compile(glob_translate(pattern)).match
    depth = None if "**" in pattern else len(parts)
    matched = False
    for one in _Walk(outside, matches=matches, depth=depth).files(str(Path(*parts[:fixed]))):
        matched = True
        yield one
    if not matched:
        raise UsageError(f"no file matches the input {given}")


class _Walk:
    """The files below a folder by name, depth first, each real folder once."""

    def __init__(
        self, outside: Sequence[str], matches: Callable[[str], object] | None = None, depth: int | None = None
    ) -> None:
        self._outside, self._matches, self._depth = frozenset(outside), matches, depth
        self._entered: set[tuple[int, int]] = set()

    def files(self, folder: str, *, inside: bool = False) -> Iterator[Found]:
        """``inside`` a folder that matched the glob, everything matches."""
        wanted = inside or self._matches is None
        above = os.path.join(folder, "")  # noqa: PTH118
        for name in self._names(folder):  # millions of them: each call here counts
            path = above + name
            matched = wanted or bool(self._matches and self._matches(path))
            found = _stat(path)
            if found is None:
                if matched and os.path.islink(path):  # noqa: PTH114 - leads nowhere: an error row tells
                    yield _uri(path), "missing", 0
            elif stat.S_ISREG(found.st_mode):
                if matched:
                    size = found.st_size
                    yield path if path.isascii() else _uri(path), f"{size}-{found.st_mtime_ns}", size
            elif stat.S_ISDIR(found.st_mode):
                deep = self._depth is not None and len(Path(path).parts) >= self._depth
                if matched or not deep:
                    yield from self.files(path, inside=matched)

    def _names(self, folder: str) -> list[str]:
        """What to look at in a folder, sorted; only names are held, since a folder may have millions."""
        if folder in self._outside:
            return []
        try:
            where = os.stat(folder)  # noqa: PTH116
            if (where.st_dev, where.st_ino) in self._entered:
                return []
            self._entered.add((where.st_dev, where.st_ino))
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if not _is_junk(entry.name))
        except PermissionError:
            raise UsageError(f"no read access to the folder {folder}: get it, or leave the folder out") from None
        except FileNotFoundError:
            return []  # gone meanwhile


def _stat(path: str) -> os.stat_result | None:
    """None for what is gone, and for links that lead nowhere or to themselves."""
    try:
        return os.stat(path)  # noqa: PTH116
    except PermissionError:
        raise UsageError(f"no access to {path}: get it, or leave it out") from None
    except OSError:
        return None


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in JUNK


def _stated(path: str) -> Found:
    found = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"the input {path} is neither a file nor a folder")
    return _uri(path), f"{found.st_size}-{found.st_mtime_ns}", found.st_size


def _uri(path: str) -> str:
    """The path, or ``file://`` with escapes where its bytes are not text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"file://{quote_from_bytes(os.fsencode(path))}"
    return path


# ---- S3


def _s3(given: str, outside: Sequence[str]) -> Iterator[Found]:
    from stages.storage_s3 import head, split

    bucket, key = split(given)
    try:
        if key and not key.endswith("/"):
            try:
                etag, size = head(bucket, key)
            except FileNotFoundError:
                pass
            else:
                yield given, etag, size
                return
        matched = False
        for one in _s3_below(bucket, key, outside):
            matched = True
            yield one
    except FileNotFoundError:
        raise UsageError(f"the input {given} does not exist: there is no bucket {bucket}") from None
    except PermissionError:
        raise UsageError(f"no access to the input {given}: give the account s3:ListBucket and s3:GetObject") from None
    if not matched:
        raise UsageError(f"the input {given} does not exist: no object has that name, prefix or pattern")


def _s3_below(bucket: str, key: str, outside: Sequence[str]) -> Iterator[Found]:
    """Objects below the prefix or matching the glob (and those below what matches)."""
    from stages.storage_s3 import pages_of

    magic = has_magic(key)
    start = key[: re.search(r"[*?[]", key).start()] if magic else f"{key.rstrip('/')}/" if key else ""  # type: ignore[union-attr]
    pattern = key if magic else escape(start.rstrip("/"))
    matches = re.compile(glob_translate(pattern)).match if pattern else None
    for page in pages_of(bucket, start):
        for one in page:
            name = one["Key"]
            if name.endswith("/") or any(_is_junk(part) for part in name[len(start) :].split("/")):
                continue
            uri = f"s3://{bucket}/{name}"
            if any(uri.startswith(f"{folder}/") for folder in outside):
                continue
            above = (name, *(str(parent) for parent in PurePosixPath(name).parents))
            if matches is None or any(matches(part) for part in above):
                yield uri, one["ETag"].strip('"'), one["Size"]
