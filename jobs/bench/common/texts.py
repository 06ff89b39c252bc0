"""Texts and pages of words for the model benches: always the same, told by a hash. Needs nothing installed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pipelines.tasks.tiny import WORDS
from stages.base import Row

QUESTIONS = ("what is the total amount", "what is the invoice number", "who is the customer", "what is the date")
PAGE_CHARS, PAGE_LINES = 64, 54
"""Letters of a full line and lines of a full page."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Rows for a task, and the hash that tells them from others."""

    rows: list[Row]
    sha256: str


def texts(count: int) -> Inputs:
    """English-looking texts of mixed length: log-normal about 60 words, 4 to 480, as notes, mails and articles mix.

    The first n of them are the same whatever ``count`` is.
    """
    rng = Random(1912)  # noqa: S311 - text, not secrets
    made: list[Row] = [
        {"text": _sentence(rng, min(480, max(4, round(rng.lognormvariate(4.1, 1.0)))))} for _ in range(count)
    ]
    return Inputs(rows=_keyed(made), sha256=_sha256(made))


def sentences(count: int, *, words: bool = False) -> Inputs:
    """Sentences of 3 to 60 words, log-normal about 15, as news and captions have; as ``words`` where asked for."""
    rng = Random(1789)  # noqa: S311 - text, not secrets
    drawn = [rng.choices(WORDS, k=min(60, max(3, round(rng.lognormvariate(2.7, 0.6))))) for _ in range(count)]
    titled = [[first.capitalize(), *rest] for first, *rest in drawn]
    made: list[Row] = [{"words": each} if words else {"text": " ".join(each) + "."} for each in titled]
    return Inputs(rows=_keyed(made), sha256=_sha256(made))


def pages(count: int) -> Inputs:
    """Pages of 80 to 400 words in lines, each with a question."""
    rng = Random(1318)  # noqa: S311 - text, not secrets
    made = [{**_page(rng), "question": QUESTIONS[i % len(QUESTIONS)]} for i in range(count)]
    return Inputs(rows=_keyed(made), sha256=_sha256(made))


def annotated_pages(folder: Path, count: int) -> Inputs:
    """The first ``count`` pages of ``receipts.jsonl`` (lines with boxes in pixels), each with a question."""
    with (folder / "receipts.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for _, line in zip(range(count), file, strict=False)]
    made = [{**_words_of(one), "question": QUESTIONS[i % len(QUESTIONS)]} for i, one in enumerate(records)]
    return Inputs(rows=_keyed(made), sha256=_sha256(made))


def _sentence(rng: Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count)).capitalize() + "."


def _page(rng: Random) -> Row:
    words, boxes, line, at = [], [], 0, 0
    for word in rng.choices(WORDS, k=rng.randint(80, 400)):
        if at + len(word) > PAGE_CHARS or rng.random() < 0.05:
            line, at = line + 1, 0
        words.append(word)
        boxes.append(_box(at, line % PAGE_LINES, len(word)))
        at += len(word) + 1
    return {"words": words, "boxes": boxes}


def _box(first: int, line: int, letters: int) -> list[int]:
    """Where letters of a line stand, in thousandths of the page, with a margin around all."""
    x0, x1 = (60 + 880 * at // PAGE_CHARS for at in (first, first + letters))
    return [x0, 50 + 900 * line // PAGE_LINES, x1, 50 + 900 * line // PAGE_LINES + 12]


def _words_of(record: dict[str, object]) -> Row:
    """The words of annotated lines; each gets its share of the line's box by its letters."""
    width, height, lines = record["width"], record["height"], record["lines"]
    assert isinstance(width, int)
    assert isinstance(height, int)
    assert isinstance(lines, list)
    words: list[str] = []
    boxes: list[list[int]] = []
    for line in lines:
        (x0, y0, x1, y1), text, at = line["box"], line["text"], 0
        for word in text.split():
            ends = (x0 + (x1 - x0) * place / max(len(text), 1) for place in (at, at + len(word)))
            left, right = (_thousandth(end, width) for end in ends)
            words.append(word)
            boxes.append([left, _thousandth(y0, height), right, _thousandth(y1, height)])
            at += len(word) + 1
    return {"words": words, "boxes": boxes}


def _thousandth(value: float, whole: int) -> int:
    return min(1000, max(0, int(1000 * value / whole)))


def _keyed(rows: list[Row]) -> list[Row]:
    return [{"uri": f"row-{i}", "source": "", "page": 1, "record": i, **row} for i, row in enumerate(rows)]


def _sha256(rows: list[Row]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]
