"""Questions with the paragraphs that answer them, and many short texts made of what text a folder holds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.labelled.files import File
from stages.base import Row
from stages.errors import UsageError

WINDOW, STEP = 12, 3
"""Words of a window, and words from one to the next."""


@dataclass(frozen=True, kw_only=True)
class Squad:
    """Paragraphs, and questions that each one of them answers."""

    paragraphs: list[str]
    questions: list[Row]
    """``question``, its ``answers``, and the ``text`` of its paragraph."""


def read_squad(bench: str, data: Path | None) -> Squad:
    """SQuAD's JSON files in a folder, or in ``squad/`` below it. Raises UsageError where there are none."""
    from jobs.labelled.formats import squad

    if data is None:
        raise UsageError(f"bench {bench} needs questions: --data FOLDER with SQuAD's JSON files")
    paths = sorted([*data.glob("*.json"), *data.glob("squad/*.json")])
    if not paths:
        raise UsageError(f"no .json file in {data} nor in {data}/squad: bench {bench} needs SQuAD's questions")
    files = [File(uri=str(path), size=path.stat().st_size) for path in paths]
    rows = [row for row in squad.rows(files) if row["answers"]]
    return Squad(paragraphs=list(dict.fromkeys(str(row["text"]) for row in rows)), questions=rows)


def short_texts(data: Path, paragraphs: Sequence[str], count: int) -> list[str]:
    """``count`` different texts: sentences as they stand in the folder's files, then windows of words over them.

    Files are JSON lines (every text in them) and CoNLL columns. Raises UsageError where there is too little.
    """
    running = [*paragraphs, *_lines(data)]
    texts = dict.fromkeys(itertools.islice(_cut(running), 2 * count))
    if len(texts) < count:
        raise UsageError(f"{data} holds text for {len(texts):,} short texts only; {count:,} are needed")
    return list(texts)[:count]


def _cut(running: Sequence[str]) -> Iterator[str]:
    yield from running
    words = [word for text in running for word in text.split()]
    yield from (" ".join(words[at : at + WINDOW]) for at in range(0, len(words) - WINDOW, STEP))


def _lines(data: Path) -> Iterator[str]:
    for path in sorted(data.rglob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield from (text for text in _texts(json.loads(line)) if len(text.split()) > 2)
    for path in sorted(data.rglob("*.conll")):
        for sentence in path.read_text("utf-8").split("\n\n"):
            yield " ".join(line.split("\t")[0] for line in sentence.splitlines() if line.strip())


def _texts(value: object) -> Iterable[str]:
    """Every text in a JSON value, in order."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return itertools.chain.from_iterable(_texts(one) for one in inner)
