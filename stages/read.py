"""Read: a page of a document → its words, boxes and text. The adapter of ``stages.reading`` to tables."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from stages.base import Stage, Worker, failures_column, set_column
from stages.columns import COLUMNS
from stages.errors import Failure, RowError
from stages.fetch import fetched
from stages.ocr import check_languages, language_files
from stages.reading import READER, PageRead, open_sandbox, read_page
from stages.sandbox import SandboxLimits
from stages.settings import Settings

__all__ = ["Read", "check_languages", "read_fingerprint"]

READING_VERSION = 1
"""Raised when the same pages, settings and engines give other words."""


@dataclass(frozen=True, kw_only=True)
class Read(Stage):
    """Reads pages; rendering and OCR stay in one child process, only words, boxes and a few pixels come out."""

    name: ClassVar[str] = "read"
    settings: Settings
    pixels: tuple[int, int] | None = None
    """(height, width) of column ``pixels``, for tasks that look at the page."""
    target: str = READER
    """What runs in the sandbox."""
    limits: SandboxLimits | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Which page of what."""
        return ("uri", "source", "size", "doc_id", "page", "pages")

    @property
    def writes(self) -> tuple[str, ...]:
        """What is on it."""
        pixels = ("pixels",) if self.pixels else ()
        return ("width", "height", "words", "boxes", "text", "reader", *pixels, "failure")

    def open(self) -> Worker:
        """Starts nothing: the child comes with the first page."""
        return _Read(self)


class _Read:
    def __init__(self, stage: Read) -> None:
        self._stage = stage
        self._sandbox = open_sandbox(stage.settings, target=stage.target, limits=stage.limits)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        places = zip(*(rows[name].to_pylist() for name in ("uri", "size", "page")), strict=True)
        answers = [self._read(uri, size, page) for uri, size, page in places]
        yield _with_answers(rows, answers, pixels=self._stage.pixels is not None)

    def _read(self, uri: str, size: int | None, page: int) -> PageRead | Failure:
        settings = self._stage.settings
        try:
            with fetched(uri, size, settings.limits) as path:
                return read_page(self._sandbox, str(path), page, settings, pixels=self._stage.pixels)
        except RowError as error:
            return error.failure(Read.name)

    def close(self) -> None:
        """Ends the child."""
        self._sandbox.close()


def _with_answers(rows: pa.Table, answers: Sequence[PageRead | Failure], *, pixels: bool) -> pa.Table:
    pages = [None if isinstance(answer, Failure) else answer for answer in answers]
    columns: dict[str, list[object]] = {
        "width": [page and page.width for page in pages],
        "height": [page and page.height for page in pages],
        "words": [page and page.words.words for page in pages],
        "text": [page and page.words.text for page in pages],
        "reader": [page and page.reader for page in pages],
    }
    if pixels:
        columns["pixels"] = [None if page is None or page.pixels is None else page.pixels.tobytes() for page in pages]
    for name, values in columns.items():
        rows = set_column(rows, name, pa.array(values, COLUMNS[name].type))
    rows = set_column(rows, "boxes", _boxes(pages))
    failures = [answer if isinstance(answer, Failure) else None for answer in answers]
    return set_column(rows, "failure", failures_column(failures))


def _boxes(pages: Sequence[PageRead | None]) -> pa.Array:
    """The ``boxes`` column out of numpy's memory; lists of Python numbers take 20 times as long."""
    boxes = [np.empty((0, 4), np.int16) if page is None else page.words.boxes for page in pages]
    flat = np.concatenate([np.empty((0, 4), np.int16), *boxes])
    corners = pa.ListArray.from_arrays(pa.array(4 * np.arange(len(flat) + 1), pa.int32()), pa.array(flat.reshape(-1)))
    ends = pa.array(np.cumsum([0, *map(len, boxes)]), pa.int32())
    null = pa.array([page is None for page in pages], pa.bool_())
    return pa.ListArray.from_arrays(ends, corners, mask=null).cast(COLUMNS["boxes"].type)


def read_fingerprint(settings: Settings) -> str:
    """What decides the words of a page: text mode, render and OCR settings, versions of engines and language data.

    Time limits are left out: they decide whether a page is read, not how. Raises UsageError without language data.
    """
    parts: dict[str, object] = {"reading": READING_VERSION, "text": settings.text}
    render, ocr = asdict(settings.render), asdict(settings.ocr)
    parts["render"] = {name: render[name] for name in ("engine", "max_pixels")}
    parts["engines"] = {"pdfium": _package("pypdfium2"), "poppler": _program("pdftotext", "-v")}
    if settings.text != "layer":
        parts["ocr"] = {"dpi": render["dpi"], **{name: ocr[name] for name in ("engine", "lang", "psm")}}
        parts["ocr engines"] = {"tesserocr": _package("tesserocr"), "pytesseract": _program("tesseract", "--version")}
        parts["language data"] = [_sha256(file, file.stat().st_mtime_ns) for file in language_files(settings.ocr.lang)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _package(name: str) -> str:
    return importlib.metadata.version(name)


@cache
def _program(name: str, option: str) -> str:
    """The first line that the program says of itself; empty where it is not installed."""
    if shutil.which(name) is None:
        return ""
    said = subprocess.run([name, option], capture_output=True, text=True, check=False, timeout=60)
    return (said.stdout + said.stderr).partition("\n")[0].strip()


@cache
def _sha256(file: Path, _changed: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
