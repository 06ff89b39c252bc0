"""The receipts of ICDAR-2019's challenge as JSON lines, as tables; and how the challenge scores what was found.

A line has ``id``, ``split`` (train or test), ``width`` and ``height`` in pixels, ``image`` (a path or null), ``lines``
with ``box`` and ``text``, and ``key`` with the fields' texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.labelled.fields import label_fields
from jobs.labelled.lines import Line, words_of
from jobs.scoring import normalised
from stages.base import Row
from stages.columns import schema
from stages.errors import UsageError

FIELDS = ("company", "date", "address", "total")
LABELS = ("O", *(f"{prefix}-{name.upper()}" for name in FIELDS for prefix in "BI"))
FILE = "receipts.jsonl"


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """One receipt with what is known of it."""

    name: str
    split: str
    image: Path | None
    row: Row
    """uri, words, boxes, labels."""
    fields: Mapping[str, str]


def read_receipts(folder: Path | None) -> list[Receipt]:
    """All receipts, in the file's order. Raises UsageError naming the line that is not as it should be."""
    if folder is None or not (folder / FILE).is_file():
        raise UsageError(f"bench receipts needs the challenge's receipts: --data FOLDER with {FILE}")
    found = []
    for number, line in enumerate((folder / FILE).read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(_receipt(json.loads(line), folder))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{folder / FILE}, line {number}: {error!r}") from error
    return found


def _receipt(value: dict[str, object], folder: Path) -> Receipt:
    lines = cast("list[dict[str, object]]", value["lines"])
    fields = cast("dict[str, str]", value["key"])
    page = words_of(
        [Line(text=str(one["text"]), box=tuple(cast("list[float]", one["box"]))) for one in lines],  # type: ignore[arg-type]
        float(str(value["width"])),
        float(str(value["height"])),
    )
    name, image = str(value["id"]), value.get("image")
    row: Row = {
        "uri": name,
        "words": page.words,
        "boxes": page.boxes.tolist(),
        "labels": label_fields(page, fields),
    }
    split = str(value["split"])
    return Receipt(name=name, split=split, image=folder / str(image) if image else None, row=row, fields=fields)


def write_table(receipts: Sequence[Receipt], file: Path, *, boxes: bool = True) -> str:
    """The receipts as a table; without ``boxes`` all of them are 0, so that only the words' order is left."""
    rows = [one.row if boxes else {**one.row, "boxes": [[0, 0, 0, 0]] * len(_words(one))} for one in receipts]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema(("uri", "words", "boxes", "labels"))), file)
    return str(file)


def _words(receipt: Receipt) -> list[str]:
    return cast("list[str]", receipt.row["words"])


# ---- the challenge's score


@dataclass(frozen=True, kw_only=True)
class FieldScore:
    """Fields of all receipts, one answer each."""

    exact: float
    """F1 of fields whose text is right to the last character."""
    letters: float
    """F1 of fields whose letters and digits are right, upper and lower case alike."""


def best_fields(entities: Iterable[Row]) -> dict[str, str]:
    """One text a field: that of the entity whose words' scores add up to most."""
    best: dict[str, tuple[float, str]] = {}
    for one in entities:
        label, words = str(one["label"]).lower(), int(str(one["word_end"])) - int(str(one["word_start"]))
        weight = float(str(one["score"])) * words
        if weight > best.get(label, (0.0, ""))[0]:
            best[label] = weight, str(one["text"])
    return {label: text for label, (_, text) in best.items()}


def score_fields(said: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]) -> FieldScore:
    """Over the receipts of ``said``: precision counts answers given, recall fields that are there."""
    pairs = [
        (text, found.get(name, {}).get(field, "")) for name, fields in said.items() for field, text in fields.items()
    ]
    there, given = sum(bool(text) for text, _ in pairs), sum(bool(ours) for _, ours in pairs)
    exact = sum(text == ours for text, ours in pairs if text)
    letters = sum(normalised(text) == normalised(ours) for text, ours in pairs if text)
    both = there + given
    return FieldScore(exact=2 * exact / both if both else 0.0, letters=2 * letters / both if both else 0.0)
