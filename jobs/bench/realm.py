"""REALM learns to answer SQuAD's questions from blocks that it finds itself, beside guessing from the block found.

``--data FOLDER`` holds SQuAD's JSON (there, or in ``squad/``). Retriever and reader start from all-MiniLM-L6-v2, which
has never seen a question answered. ``manta train`` teaches both, and embeds all blocks anew as the retriever learns.
Every fourth question is held out for the figures; some of the others choose the best epoch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from jobs.bench.common.answering import answers
from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.frames import READ, write_realm
from jobs.bench.common.guessing import guess
from jobs.bench.common.learning import Learned, learn, settings_note
from jobs.bench.common.machine import versions
from jobs.bench.common.passages import read_squad
from jobs.bench.common.report import Check, Report, Table
from stages.base import Row

FAMILY, TASK = "realm", "open-question-answering"
SETTINGS = {
    "task.refresh_steps": "68",
    "train.epochs": "5",
    "train.learning_rate": "1.5e-4",
    "train.accumulate": "4",
    "train.rates": '{"qa_outputs": 10, "embedder": 0.2}',
}
"""What ``manta train --set`` is told."""
QUICK = {**SETTINGS, "task.refresh_steps": "1", "train.epochs": "1", "train.max_steps": "2", "train.accumulate": "1"}
TESTED, CHOOSING = 4, 10
"""Every so many questions one is held out for the figures; of the others one, to choose the epoch."""
BLOCK_WORDS = 48
"""A paragraph's sentences are joined to blocks of at most so many words."""


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The questions, each with its ``answers``."""

    training: list[Row]
    choosing: list[Row]
    test: list[Row]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Answers to the test questions."""

    name: str
    exact: float
    f1: float
    new: float
    """Exact match where no training question has any of the answers."""


def measure(ask: Ask) -> Report:
    """Exact match on held-out questions, and the learning curve."""
    squad = read_squad("realm", ask.data)
    blocks = blocks_of(squad.paragraphs)
    split = _split(squad.questions)
    settings = QUICK if ask.quick else SETTINGS
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as name:
        folder = Path(name)
        write_realm(folder / "start", blocks)
        tell(f"{len(split.training)} questions are learnt, {len(split.test)} are held out, {len(blocks)} blocks")
        learned = learn(
            FAMILY,
            TASK,
            start=folder / "start",
            data=_write(split.training, folder / "training.parquet"),
            held_out=_write(split.choosing, folder / "choosing.parquet"),
            output=folder / "training",
            settings=settings,
            alone=ask.quick,
        )
        rows = answers(
            FAMILY,
            TASK,
            checkpoint=Path(learned.record.model),
            table=_write(split.test, folder / "test.parquet"),
            output=folder / "run",
            alone=ask.quick,
        )
    found = [[str(hit["text"]) for hit in cast("list[Row]", row["hits"])] for row in rows]
    guesses = [guess(str(one["question"]), texts[0]) for one, texts in zip(split.test, found, strict=True)]
    judged = (
        _judge("guessing from the best block", guesses, split),
        _judge("the trained reader", [str(row["answer"]) for row in rows], split),
    )
    hold = [
        any(a.lower() in t.lower() for a in _answers(one) for t in texts)
        for one, texts in zip(split.test, found, strict=True)
    ]
    return _report(ask, learned, judged, sum(hold) / len(hold), (split, len(blocks)), settings)


def blocks_of(paragraphs: Sequence[str]) -> list[str]:
    """The paragraphs' sentences, joined to blocks of up to BLOCK_WORDS words; a longer sentence is one by itself."""
    from pipelines.tasks.sentences import sentences

    blocks: list[str] = []
    for text in paragraphs:
        open_block: list[str] = []
        for start, end in sentences(text, "en"):
            words = text[start:end].split()
            if open_block and len(open_block) + len(words) > BLOCK_WORDS:
                blocks.append(" ".join(open_block))
                open_block = []
            open_block += words
        blocks.append(" ".join(open_block))
    return list(dict.fromkeys(blocks))


def _split(questions: Sequence[Row]) -> _Split:
    rest = [row for at, row in enumerate(questions) if at % TESTED]
    return _Split(
        training=[row for at, row in enumerate(rest) if at % CHOOSING],
        choosing=rest[::CHOOSING],
        test=list(questions[::TESTED]),
    )


def _judge(name: str, said: Sequence[str], split: _Split) -> _Judged:
    from pipelines.tasks.answers import judge

    known = {answer.lower() for row in (*split.training, *split.choosing) for answer in _answers(row)}
    gold = [_answers(row) for row in split.test]
    whole = judge(said, gold, ("exact_match", "f1"))
    new = [(one, right) for one, right in zip(said, gold, strict=True) if not known & {each.lower() for each in right}]
    fresh = (
        judge([one for one, _ in new], [right for _, right in new], ("exact_match",)) if new else {"exact_match": 0.0}
    )
    return _Judged(name=name, exact=whole["exact_match"], f1=whole["f1"], new=fresh["exact_match"])


def _answers(row: Row) -> list[str]:
    return cast("list[str]", row["answers"])


def _write(rows: Sequence[Row], file: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: [row[name] for row in rows] for name in ("question", "answers")}), file)
    return str(file)


def _report(
    ask: Ask,
    learned: Learned,
    judged: tuple[_Judged, _Judged],
    hold: float,
    inputs: tuple[_Split, int],
    settings: Mapping[str, str],
) -> Report:
    split, blocks = inputs
    baseline, ours = judged
    table = Table(
        title=f"{len(split.test)} held-out questions, {blocks} blocks",
        columns=("answers by", "exact match", "F1", "exact match where training has no such answer"),
        rows=tuple((one.name, one.exact, one.f1, one.new) for one in judged),
    )
    checks = (
        Check(
            what="exact match above guessing from the best block", figure=ours.exact - baseline.exact, mark=0.0, unit=""
        ),
    )
    return Report(
        bench="realm",
        title="questions answered from blocks that are found",
        command=ask.command("realm"),
        tables=(table, learned.curve_table()),
        checks=() if ask.quick else checks,
        notes=(
            f"{len(split.training)} training questions of the same article, {len(split.choosing)} held out to choose "
            f"the epoch; {learned.record.workers} workers, {learned.record.steps} steps, {learned.minutes:.1f} minutes",
            f"an answer stands in one of the {READ} blocks that are read for {100 * hold:.0f} % of the questions",
            "guessing: the first number of the trained retriever's best block where an amount or a date is asked for, "
            "else the first name in it that the question does not say",
            settings_note(settings),
        ),
        versions=versions("torch", "transformers", "ray"),
    )
