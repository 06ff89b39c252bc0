"""Tables whose labels are spans: of words, or of a text's characters; they become one label a word.

``spans`` is a list of ``{start, end, label}``, ``end`` exclusive: words where a row has ``words``, else characters of
its ``text``. ``entities`` with ``word_start``, ``word_end`` and ``label``, as ``manta run`` writes them, does as well,
so that corrected answers train the next model. A text's words are runs of letters and digits, and each other character
by itself; a word that a span cuts belongs to the span.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.labelled.files import File
from pipelines import Task
from stages.base import Row
from stages.errors import RowError, UsageError
from stages.fetch import fetched
from stages.listing import kind_of
from stages.settings import Limits

ABOUT = "tables with spans {start, end, label} in place of labels"
COLUMNS = ("words", "boxes", "labels", "image")
TABLES = True
_SPANS = ("spans", "entities")
_WORD = re.compile(r"\w+|[^\w\s]")


def recognises(files: Sequence[File], task: Task) -> bool:
    """Tables without labels that have spans."""
    tables = _tables(files)
    if "labels" not in task.gold or not tables:
        return False
    names = _names(tables[0])
    return "labels" not in names and any(name in names for name in _SPANS)


def rows(files: Sequence[File]) -> Iterator[Row]:
    """The rows, each with labels made of its spans."""
    for file in _tables(files):
        for where, row in _read(file):
            try:
                yield _labelled(row, file)
            except (KeyError, TypeError, ValueError) as error:
                why = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise UsageError(f"{file.uri}, {where}: {why}") from error


def _tables(files: Sequence[File]) -> list[File]:
    return [file for file in files if kind_of(file.uri) == "table"]


def _names(file: File) -> list[str]:
    if file.suffix == "parquet":
        try:
            with fetched(file.uri, file.size, Limits()) as path:
                return list(pq.read_schema(path).names)
        except (RowError, pa.ArrowInvalid):
            return []  # the reader of tables says what is wrong with it
    first = file.text().partition("\n")[0]
    try:
        value = json.loads(first)
    except ValueError:
        return []
    return list(value) if isinstance(value, dict) else []


def _read(file: File) -> Iterator[tuple[str, Row]]:
    """Rows with where they stand."""
    if file.suffix == "parquet":
        with fetched(file.uri, file.size, Limits()) as path, pq.ParquetFile(path) as parquet:
            at = 0
            for batch in parquet.iter_batches(batch_size=500):
                yield from ((f"row {at + number}", row) for number, row in enumerate(batch.to_pylist()))
                at += batch.num_rows
        return
    for number, line in file.lines():
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{file.uri}, line {number}: not JSON: {error.msg}") from error
        if not isinstance(value, dict):
            raise UsageError(f"{file.uri}, line {number}: not a JSON object")
        yield f"line {number}", value


def _labelled(row: Row, file: File) -> Row:
    words, places = _words(row)
    labels = ["O"] * len(words)
    for start, end, label in _spans(row):
        inside = [at for at, (first, past) in enumerate(places) if first < end and past > start]
        if start >= end or not inside:
            raise ValueError(f"the span {start} to {end} ({label}) holds no word")
        if any(labels[at] != "O" for at in inside):
            raise ValueError(f"the span {start} to {end} ({label}) overlaps another")
        for at in inside:
            labels[at] = f"{'B' if at == inside[0] else 'I'}-{label}"
    kept = {name: row.get(name) for name in ("boxes", "image")}
    if isinstance(kept["image"], str):
        kept["image"] = _located(kept["image"], file).encode()
    return {"uri": str(row.get("uri") or file.uri), **kept, "words": words, "labels": labels}


def _words(row: Row) -> tuple[list[str], list[tuple[int, int]]]:
    """The row's words, and the places that spans speak of: each word's number, or its characters."""
    words, text = row.get("words"), row.get("text")
    if isinstance(words, list):
        return [str(word) for word in words], [(at, at + 1) for at in range(len(words))]
    if not isinstance(text, str):
        raise TypeError("the row has neither words nor text")
    found = list(_WORD.finditer(text))
    return [each.group() for each in found], [each.span() for each in found]


def _spans(row: Row) -> Iterator[tuple[int, int, str]]:
    for one in cast("list[dict[str, object]]", row.get("spans") or ()):
        yield int(str(one["start"])), int(str(one["end"])), str(one["label"])
    for one in cast("list[dict[str, object]]", row.get("entities") or ()) if "spans" not in row else ():
        yield int(str(one["word_start"])), int(str(one["word_end"])), str(one["label"])


def _located(image: str, file: File) -> str:
    """An image's path as seen from where its table lies."""
    return image if image.startswith(("/", "s3://", "file://")) else str(file.path.parent / image)
