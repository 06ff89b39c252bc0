"""Rows for any task, generated from the columns that it declares; a new column needs one line in COLUMNS here."""

from __future__ import annotations

import functools
import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipelines import Task
from pipelines.tasks.scores import label_names
from pipelines.tasks.tiny import WORDS
from stages.base import Row
from stages.errors import UsageError

SIZES = (1, 3, 9, 25, 60, 110)
"""Words of a text or page; a tiny checkpoint takes 64 tokens, so the last ones are cut, or read in windows."""
SHORT = (1, 2, 4, 6)
LENGTHS = {"causal-lm": SHORT, "entity-span-classification": (1, 2, 4, 6, 9, 3)}
"""Tasks that refuse what is longer than the model, or of which transformers by hand has no windows."""
ODD = ["unfurling", "12.50", "Zürich", "東京", "a/b"]


def words(rng: random.Random, count: int) -> list[str]:
    """Frequent words, some in capitals, some that the vocabulary takes apart."""
    return [rng.choice(ODD) if rng.random() < 0.1 else rng.choice(WORDS).title() for _ in range(count)]


def boxes(rng: random.Random, count: int) -> list[list[int]]:
    """As many boxes, anywhere on the page."""
    corners = [(rng.randrange(900), rng.randrange(950)) for _ in range(count)]
    return [[x, y, x + rng.randrange(101), y + rng.randrange(51)] for x, y in corners]


def pixels(rng: random.Random, _count: int) -> bytes:
    """A page of 7 × 7 coloured fields; draws nothing from ``rng``, so that other columns do not depend on it."""
    twin = random.Random()
    twin.setstate(rng.getstate())
    fields = np.frombuffer(twin.randbytes(7 * 7 * 3), np.uint8).reshape(7, 7, 3)
    return fields.repeat(32, axis=0).repeat(32, axis=1).tobytes()


def picture(rng: random.Random, count: int) -> Row:
    """32 × 32 pixels of an image of another size: 4 × 4 coloured fields. Draws nothing from ``rng`` either."""
    twin = random.Random()
    twin.setstate(rng.getstate())
    fields = np.frombuffer(twin.randbytes(4 * 4 * 3), np.uint8).reshape(4, 4, 3)
    pixels = fields.repeat(8, axis=0).repeat(8, axis=1).tobytes()
    return {"pixels": pixels, "height": 32, "width": 32, "image_height": 20 + count, "image_width": 50}


def sound(_: random.Random, count: int) -> Row:
    """Tones and some noise, 0.1 to 1.2 s at 8 kHz; every second one has the length of the one before."""
    seconds, noise = 0.1 + 0.01 * (count - count % 2), np.random.default_rng(count)
    time = np.arange(int(8000 * seconds)) / 8000
    wave = np.sin(2 * np.pi * (150 + 40 * count) * time) * np.sin(9 * time * (count % 5)) + noise.normal(
        0, 0.2, len(time)
    )
    return {"samples": (0.3 * wave).astype(np.float32).tobytes(), "rate": 8000}


def clips(_: random.Random, count: int) -> Row:
    """One or two clips of 4 frames of 32 × 32 pixels: coloured fields that change."""
    many = 1 + count % 2
    fields = np.random.default_rng(count).integers(0, 256, (many * 4, 4, 4, 3), np.uint8)
    frames = fields.repeat(8, axis=1).repeat(8, axis=2).tobytes()
    return {"frames": frames, "clips": many, "count": 4, "height": 32, "width": 32}


COLUMNS: dict[str, Callable[[random.Random, int], object]] = {
    "words": words,
    "boxes": boxes,
    "pixels": pixels,
    "text": lambda rng, count: " ".join(words(rng, count)) + ".",
    "text_pair": lambda rng, count: " ".join(words(rng, count)) + "?",
    "question": lambda rng, count: f"What is {rng.choice(WORDS)}?",
    "picture": picture,
    "sound": sound,
    "clips": clips,
    "query_picture": lambda rng, count: picture(random.Random(count % 3), count),
    "candidate_labels": lambda _, count: [
        f"{word} {WORDS[count + 7]}" for word in WORDS[count : count + 2 + count % 4]
    ],
    "choices": lambda rng, count: [" ".join(words(rng, rng.randrange(1, 5))) for _ in range(rng.randrange(1, 4))],
}


def entities(rng: random.Random, task: str, text: str) -> Row:
    """Spans of some of a text's first words, and titles; draws nothing from ``rng``, as ``pixels``."""
    twin = random.Random(str(rng.getstate()[1][:4]))
    places = [found.span() for found in itertools.islice(re.finditer(r"\S+", text), 5)]
    count = 2 if "pair" in task else 1 if task.startswith("entity-c") else twin.randrange(1, 4)
    starts = [twin.randrange(len(places)) for _ in range(count)]
    spans = [[places[n][0], places[min(n + twin.randrange(2), len(places) - 1)][1]] for n in starts]
    return {"entity_spans": spans, "entity_names": [twin.choice(("[MASK]", "Paris", "River")) for _ in range(count)]}


def candidates(rng: random.Random, task: str) -> Row:
    """Two or three texts and how relevant they are; draws nothing from ``rng``."""
    twin = random.Random(f"{task}{rng.getstate()[1][:4]}")
    texts = [" ".join(words(twin, twin.randrange(1, 6))) for _ in range(twin.randrange(2, 4))]
    return {"candidates": texts, "relevance": [twin.random() * 4 for _ in texts]}


def sample_rows(task: type[Task], *, seed: int = 0, sizes: Sequence[int] = SIZES, mask: str = "[MASK]") -> list[Row]:
    """One row a size with what the task reads and, by chance, what it may read besides; ``mask`` is the tokenizer's."""
    rng = random.Random(seed)
    return [_sample(task, rng, size, number, mask) for number, size in enumerate(sizes)]


def _sample(task: type[Task], rng: random.Random, size: int, number: int, mask: str) -> Row:
    values: Row = {name: make(rng, size) for name, make in COLUMNS.items()}
    values |= {**entities(rng, task.name, str(values["text"])), **candidates(rng, task.name)}
    if "mask" in task.name or task.name == "pretraining":
        masked = _masked(values["words"], mask)
        values |= {"words": masked, "boxes": boxes(rng, len(masked))}
        values["text"] = " ".join(_masked(str(values["text"]).split(), mask))
        values |= entities(rng, task.name, str(values["text"]))
    key: Row = {"uri": f"table.jsonl#{number}", "source": "1", "page": 1 + number, "record": 0}
    while True:
        chosen = [*task.reads, *(name for name in task.optional if rng.random() < 0.5)]
        if _admitted(task, chosen):
            return {**key, **{name: values[name] for name in chosen}}


@functools.cache
def mask_of(folder: Path | str) -> str:
    """The mask token of a checkpoint's tokenizer."""
    tokenizer = Path(folder, "tokenizer_config.json")
    told = json.loads(tokenizer.read_text()) if tokenizer.exists() else {}
    return str(told.get("mask_token") or "[MASK]")


def _masked(words: object, mask: str) -> list[str]:
    assert isinstance(words, list)
    return [*words[:1], mask, *words[1:3], mask, *words[3:]]


def _admitted(task: type[Task], columns: Sequence[str]) -> bool:
    from pipelines import Checkpoint

    try:
        task(Checkpoint(ref="", path="", content="")).check(columns)
    except UsageError:
        return False
    return "boxes" not in columns or "words" in columns


def gold_row(task: Task, row: Row, *, seed: int = 0) -> Row:
    """The row with right answers in the columns ``task.gold``, for a task whose processor is loaded."""
    rng = random.Random(seed)
    if task.contrasts:  # pairs
        row = {**{name: COLUMNS[name](random.Random(seed), 4 + seed) for name in task.optional}, **row}
    row = {**row, **{name: COLUMNS[name](rng, 4) for name in ("words",) if "labels" in task.gold and _bare(task, row)}}
    names = label_names(cast("Any", task).config)
    answers = _answers(rng, row)
    values: Row = {
        "label": rng.choice(names),
        "labels": [rng.choice(names) for _ in range(_count(row, "words"))],
        "score": rng.random(),
        "answers": answers,
        "answer_starts": [str(row["text"]).find(answers[0])] if "text" in row else None,
        "next_sentence": rng.random() < 0.5,
        "question": f"What is {rng.choice(WORDS)}?",
        # Where there is no text to copy, letters that the tiny CTC vocabulary has.
        "text": row.get("text") or rng.choice(["tea", "an oar", "in rain", "the rose"]),
        "translation": " ".join(words(rng, rng.randrange(1, 9))),
        "choice": rng.randrange(_count(row, "choices", "candidates")),
    }
    return {**row, **{name: values[name] for name in task.gold}}


def _count(row: Row, *columns: str) -> int:
    """How many values the first of the columns has that the row has; 1 without any."""
    found = next((row[name] for name in columns if name in row), "x")
    return len(cast("list[object]", found))


def _bare(task: Task, row: Row) -> bool:
    return "words" in task.optional and "words" not in row


def _answers(rng: random.Random, row: Row) -> list[str]:
    there = str(row["text"]).split() if "text" in row else row.get("words", ["nothing"])
    assert isinstance(there, list)
    start = rng.randrange(len(there))
    return [" ".join(there[start : start + rng.randrange(1, 4)])]
