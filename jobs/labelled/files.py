"""The files of labelled data, wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.errors import RowError, UsageError
from stages.fetch import fetched
from stages.listing import KINDS, listing
from stages.settings import Limits

IMAGES = frozenset(KINDS["image"])


@dataclass(frozen=True, kw_only=True)
class File:
    """One file below what a person named."""

    uri: str
    size: int
    """Bytes."""

    @property
    def path(self) -> PurePosixPath:
        """Its URI's parts."""
        return PurePosixPath(self.uri)

    @property
    def suffix(self) -> str:
        """Lower case, without the dot."""
        return self.path.suffix[1:].lower()

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return self.path.stem

    @property
    def folder(self) -> str:
        """The name of the folder that it lies in."""
        return self.path.parent.name

    def text(self) -> str:
        """What it says. Raises UsageError naming it where it is not UTF-8 or cannot be read."""
        try:
            with fetched(self.uri, self.size, Limits()) as path:
                return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.uri} is not UTF-8 text (byte {error.start}): convert it") from error
        except RowError as error:
            raise UsageError(error.message) from error

    def sha256(self) -> str:
        """Of its content, hexadecimal."""
        with fetched(self.uri, self.size, Limits()) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def lines(self) -> Iterator[tuple[int, str]]:
        """Its lines with their numbers, from 1."""
        return enumerate(self.text().split("\n"), 1)

    def json(self) -> object:
        """Its JSON value. Raises UsageError naming file and line."""
        try:
            value: object = json.loads(self.text())
        except json.JSONDecodeError as error:
            raise UsageError(f"{self.uri}, line {error.lineno}: not JSON: {error.msg}") from error
        return value

    def image_size(self) -> tuple[int, int]:
        """Width and height of an image in pixels, from its head. Raises UsageError where it is none."""
        from PIL import Image, UnidentifiedImageError

        try:
            with fetched(self.uri, self.size, Limits()) as path, Image.open(path) as image:
                return image.size
        except (RowError, UnidentifiedImageError, OSError) as error:
            raise UsageError(f"{self.uri} is no image that can be read") from error


def files_of(uri: str) -> list[File]:
    """All files at ``uri``, by name. Raises UsageError where there are none."""
    found = [row for table in listing([uri]) for row in table.select(["uri", "size"]).to_pylist()]
    return [File(uri=row["uri"], size=row["size"]) for row in found]


def image_beside(file: File, images: dict[str, File]) -> File:
    """The image of a page's annotations, by their common name; ``images`` by stem. Raises UsageError."""
    if file.stem not in images:
        raise UsageError(
            f"{file.uri}: no image {file.stem}.png, .jpg or the like beside it; boxes are scaled by the image's size"
        )
    return images[file.stem]


def by_stem(files: list[File]) -> dict[str, File]:
    """The images among ``files``."""
    return {file.stem: file for file in files if file.suffix in IMAGES}
