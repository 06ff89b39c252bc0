"""SROIE-style receipts: a text file of lines with boxes a page, the page's image, and a file of key fields.

As in ICDAR-2019's challenge (Huang et al., https://arxiv.org/abs/2103.10213): ``box/NAME.txt`` holds lines
``x1,y1,x2,y2,x3,y3,x4,y4,text`` with the corners of each text line in pixels, ``key/NAME.json`` or
``entities/NAME.txt`` the fields as a JSON object. Labels are made from the fields (jobs/labelled/fields.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.labelled.fields import label_fields
from jobs.labelled.files import File, by_stem, image_beside
from jobs.labelled.lines import Line, words_of
from pipelines import Task
from stages.base import Row
from stages.errors import UsageError

ABOUT = "SROIE's receipts (box/*.txt with lines, key/*.json or entities/*.txt with fields, images of the same names)"
COLUMNS = ("words", "boxes", "labels", "image")
TABLES = False
_KEYS = frozenset({"key", "keys", "entities"})
"""Names of the folder of fields."""
_CORNERS = 8


def recognises(files: Sequence[File], task: Task) -> bool:
    """A folder of fields beside text files of the same names."""
    if "labels" not in task.gold:
        return False
    keys = _keys(files)
    return any(file.stem in keys for file in _pages(files))


def rows(files: Sequence[File]) -> Iterator[Row]:
    """One row a page that has fields."""
    images, keys = by_stem(list(files)), _keys(files)
    for file in _pages(files):
        if file.stem not in keys:
            raise UsageError(f"{file.uri}: no fields {file.stem}.json or {file.stem}.txt in a folder key/ or entities/")
        image = image_beside(file, images)
        page = words_of(_lines(file), *image.image_size())
        yield {
            "uri": file.uri,
            "words": page.words,
            "boxes": page.boxes.tolist(),
            "labels": label_fields(page, _fields(keys[file.stem])),
            "image": image.uri.encode(),
        }


def _keys(files: Sequence[File]) -> dict[str, File]:
    return {file.stem: file for file in files if file.folder.lower() in _KEYS and file.suffix in {"json", "txt"}}


def _pages(files: Sequence[File]) -> list[File]:
    return [file for file in files if file.suffix in {"txt", "csv"} and file.folder.lower() not in _KEYS]


def _lines(file: File) -> list[Line]:
    found = []
    for number, line in file.lines():
        if not line.strip():
            continue
        parts = line.strip("\r").split(",", _CORNERS)
        try:
            corners = [float(part) for part in parts[:_CORNERS]]
        except ValueError as error:
            raise UsageError(f"{file.uri}, line {number}: {error}; a line is eight corners and its text") from error
        if len(parts) <= _CORNERS:
            raise UsageError(f"{file.uri}, line {number}: {len(parts)} values; a line is eight corners and its text")
        x, y = corners[0::2], corners[1::2]
        found.append(Line(text=parts[_CORNERS].strip(), box=(min(x), min(y), max(x), max(y))))
    return found


def _fields(file: File) -> dict[str, str]:
    value = file.json()
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise UsageError(f"{file.uri}: the fields are no JSON object of texts")
    return value
