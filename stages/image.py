"""See: an image, or a page of a document, to the pixels that a model takes. ``stages.reading`` does it, on tables here.

Images are upright (EXIF), RGB on white, 16 bits brought to 8; of an animation the first frame; a TIFF has pages.
Decoding and scaling happen in the sandbox: only the picture in the model's size crosses to other stages.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import pyarrow as pa

from stages.base import Row, Stage, Worker, failures_column, set_column
from stages.columns import COLUMNS
from stages.errors import Failure, RowError
from stages.fetch import fetched, given
from stages.reading import READER, Picture, open_sandbox, see_page
from stages.settings import Settings
from stages.view import View

SEEING_VERSION = 1
"""Raised when the same images and settings give other pixels."""
_HANDED_ON = 64 << 20
"""Bytes of pictures after which a table is handed on."""


@dataclass(frozen=True, kw_only=True)
class See(Stage):
    """Decodes images in the sandbox and hands on their pixels in the size that the model takes."""

    name: ClassVar[str] = "see"
    settings: Settings
    view: View
    columns: Mapping[str, str] = field(default_factory=dict)
    """Of a table: each picture's column, and the column that holds its image; empty for pages of documents."""
    target: str = READER
    """What runs in the sandbox."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Which page of what, or the table's images."""
        return tuple(self.columns.values()) or ("uri", "page")

    @property
    def writes(self) -> tuple[str, ...]:
        """What the model looks at."""
        return (*(self.columns or ("picture",)), "failure")

    @property
    def drops(self) -> tuple[str, ...]:
        """The images, which may be a hundred times as large."""
        return tuple(self.columns.values())

    def open(self) -> Worker:
        """Starts nothing: the child comes with the first image."""
        return _See(self)


class _See:
    def __init__(self, stage: See) -> None:
        self._stage = stage
        self._sandbox = open_sandbox(stage.settings, target=stage.target)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        rest = rows.drop_columns(list(self._stage.drops))
        held: list[Row | Failure] = []
        size, start = 0, 0
        for at, row in enumerate(_rows(rows, self._stage.reads)):
            held.append(self._seen(row))
            size += _bytes(held[-1])
            if size > _HANDED_ON or at == rows.num_rows - 1:
                yield self._answered(rest.slice(start, len(held)), held)
                held, size, start = [], 0, at + 1

    def _answered(self, rows: pa.Table, answers: list[Row | Failure]) -> pa.Table:
        for name in self._stage.writes[:-1]:
            values = [None if isinstance(one, Failure) else one.get(name) for one in answers]
            rows = set_column(rows, name, pa.array(values, COLUMNS[name].type))
        failures = [one if isinstance(one, Failure) else None for one in answers]
        return set_column(rows, "failure", failures_column(failures))

    def _seen(self, row: Row) -> Row | Failure:
        stage = self._stage
        try:
            if stage.columns:
                return {
                    name: self._given(row[source], source)
                    for name, source in stage.columns.items()
                    if row[source] is not None
                }
            with fetched(str(row["uri"]), None, stage.settings.limits) as path:
                page = row["page"]
                assert isinstance(page, int)
                return {"picture": self._look(str(path), page)}
        except RowError as error:
            return error.failure(See.name)

    def _given(self, value: object, source: str) -> Row:
        with given(value, source, self._stage.settings.limits) as path:
            return self._look(str(path), 1)

    def _look(self, path: str, page: int) -> Row:
        return packed(see_page(self._sandbox, path, page, self._stage.settings, view=self._stage.view))

    def close(self) -> None:
        """Ends the child."""
        self._sandbox.close()


def packed(picture: Picture) -> Row:
    """A picture as a value of the column ``picture``."""
    height, width = picture.pixels.shape[:2]
    return {
        "pixels": picture.pixels.tobytes(),
        "height": height,
        "width": width,
        "image_height": picture.height,
        "image_width": picture.width,
    }


def see_fingerprint(settings: Settings) -> str:
    """What decides the pixels of an image: Manta's and Pillow's versions, and for PDFs how pages are drawn."""
    parts = {
        "seeing": SEEING_VERSION,
        "engines": {name: importlib.metadata.version(name) for name in ("pillow", "pypdfium2")},
        "render": [settings.render.engine, settings.render.dpi, settings.render.max_pixels],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _rows(rows: pa.Table, names: tuple[str, ...]) -> Iterator[Row]:
    """One row at a time: a table's images would be twice in memory."""
    for at in range(rows.num_rows):
        yield {name: rows[name][at].as_py() for name in names}


def _bytes(answer: Row | Failure) -> int:
    pictures = () if isinstance(answer, Failure) else answer.values()
    return sum(len(one["pixels"]) for one in pictures if isinstance(one, dict))
