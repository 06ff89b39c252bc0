"""Draw: a page to the pixels that a task looks at, where its words are known already; a table's image to whatever of
it the task needs. Rendering, decoding and OCR happen in the sandbox, as in ``stages.read``.

| where the row comes from | words | pixels |
|---|---|---|
| a document | ``Read`` | ``Read`` |
| ``pages/`` of an earlier run | ``Reuse`` | ``Draw`` |
| a table with words and an image | the table | ``Look`` |
| a table with an image alone | ``Look`` (OCR) | ``Look`` |
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from stages.base import Row, Stage, Worker, failures_column, set_column
from stages.columns import COLUMNS
from stages.errors import Code, Failure, RowError
from stages.fetch import fetched
from stages.reading import READER, draw_page, open_sandbox, read_page
from stages.settings import Settings

_LONGEST_PATH = 4096


@dataclass(frozen=True, kw_only=True)
class Draw(Stage):
    """Draws pages whose words are known."""

    name: ClassVar[str] = "draw"
    settings: Settings
    pixels: tuple[int, int]
    """Height and width."""
    target: str = READER
    """What runs in the sandbox."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Which page of what, and how it was read: a page that was turned to be read is turned here, too."""
        return ("uri", "page", "reader")

    @property
    def writes(self) -> tuple[str, ...]:
        """What it looks like."""
        return ("pixels", "failure")

    def open(self) -> Worker:
        """Starts nothing: the child comes with the first page."""
        return _Draw(self)


class _Draw:
    def __init__(self, stage: Draw) -> None:
        self._stage = stage
        self._sandbox = open_sandbox(stage.settings, target=stage.target)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        places = zip(*(rows[name].to_pylist() for name in self._stage.reads), strict=True)
        answers = [self._draw(uri, page, reader) for uri, page, reader in places]
        pixels = [None if isinstance(one, Failure) else one for one in answers]
        failures = [one if isinstance(one, Failure) else None for one in answers]
        rows = set_column(rows, "pixels", pa.array(pixels, COLUMNS["pixels"].type))
        yield set_column(rows, "failure", failures_column(failures))

    def _draw(self, uri: str, page: int, reader: str) -> bytes | Failure:
        stage = self._stage
        try:
            with fetched(uri, None, stage.settings.limits) as path:
                drawn = draw_page(self._sandbox, str(path), page, stage.settings, pixels=stage.pixels, reader=reader)
        except RowError as error:
            return error.failure(Draw.name)
        return drawn.tobytes()

    def close(self) -> None:
        """Ends the child."""
        self._sandbox.close()


@dataclass(frozen=True, kw_only=True)
class Look(Stage):
    """Fills what rows of a table lack and their ``image`` shows: words by OCR, and pixels."""

    name: ClassVar[str] = "look"
    settings: Settings
    fills: tuple[str, ...]
    """Columns of ``stages.columns.MADE_OF`` that the task needs."""
    pixels: tuple[int, int] | None = None
    """Height and width."""
    keep: bool = False
    """Whether the task reads the image itself."""
    target: str = READER
    """What runs in the sandbox."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The image, and what may be there already."""
        return ("image", *self.fills)

    @property
    def writes(self) -> tuple[str, ...]:
        """What was missing."""
        return (*self.fills, "failure")

    @property
    def drops(self) -> tuple[str, ...]:
        """The image, unless the task reads it."""
        return () if self.keep else ("image",)

    def open(self) -> Worker:
        """Starts nothing: the child comes with the first image."""
        return _Look(self)


class _Look:
    def __init__(self, stage: Look) -> None:
        self._stage = stage
        self._sandbox = open_sandbox(stage.settings, target=stage.target)
        self._settings = replace(stage.settings, text="ocr")

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        failures: list[Failure | None] = []
        filled: list[Row] = []
        for row in rows.select(list(self._stage.reads)).to_pylist():
            try:
                filled.append({**row, **self._look(row)})
                failures.append(None)
            except RowError as error:
                filled.append(row)
                failures.append(error.failure(Look.name))
        for name in self._stage.fills:
            rows = set_column(rows, name, pa.array([row[name] for row in filled], COLUMNS[name].type))
        yield set_column(rows.drop_columns(list(self._stage.drops)), "failure", failures_column(failures))

    def _look(self, row: Row) -> Row:
        """What of ``fills`` the row lacks; words and boxes are made together, so that they fit."""
        lacking = {name for name in self._stage.fills if row[name] is None}
        if not lacking:
            return {}
        image, size = row["image"], self._stage.pixels
        if not isinstance(image, bytes) or not image:
            raise RowError(Code.ENCODE_FAILED, "the column 'image' is null")
        with self._file(image) as path:
            if lacking == {"pixels"} and size is not None:
                return {"pixels": draw_page(self._sandbox, path, 1, self._settings, pixels=size).tobytes()}
            page = read_page(self._sandbox, path, 1, self._settings, pixels=size)
        found: Row = {"words": page.words.words, "boxes": page.words.boxes.tolist()}
        if page.pixels is not None:
            found["pixels"] = page.pixels.tobytes()
        return {name: value for name, value in found.items() if name in self._stage.fills}

    @contextmanager
    def _file(self, image: bytes) -> Iterator[str]:
        """The image as a file: its own, where the value is a path."""
        named = image_path(image)
        if named is not None:
            with fetched(named, None, self._settings.limits) as path:
                yield str(path)
            return
        with tempfile.TemporaryDirectory(prefix="manta-") as folder:
            path = Path(folder, "image")
            path.write_bytes(image)
            yield str(path)

    def close(self) -> None:
        """Ends the child."""
        self._sandbox.close()


def image_path(image: bytes) -> str | None:
    """The path that a value of ``image`` is, where it is one: printable text, which no image file begins with."""
    if len(image) > _LONGEST_PATH:
        return None
    try:
        text = image.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and not text.startswith("%PDF") else None
