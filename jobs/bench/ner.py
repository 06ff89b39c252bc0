"""Named entities: a BERT that starts from all-MiniLM-L6-v2, taught WNUT-17 by ``manta train``, beside a word list.

``--data FOLDER`` holds WNUT-17's training and development files (CoNLL columns). Every tenth training sentence is held
out to choose the best epoch, so that the development file is looked at once. The word list gives each word its most
frequent training label, and words that it has not seen none.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from jobs.bench.common.answering import answers
from jobs.bench.common.ask import Ask
from jobs.bench.common.learning import Learned, learn, settings_note
from jobs.bench.common.machine import versions
from jobs.bench.common.minilm import package_folder
from jobs.bench.common.report import Check, Report, Table
from stages.base import Row
from stages.errors import UsageError

FAMILY, TASK = "bert", "token-classification"
TRAINING, DEVELOPMENT = "wnut17train.conll", "emerging.dev.conll"
SETTINGS = {
    "train.epochs": "6",
    "train.learning_rate": "2e-4",
    "train.token_budget": "600",
    "train.rates": '{"head": 5}',
    "augment.word_dropout": "0.1",
}
"""What ``manta train --set`` is told."""
QUICK = {**SETTINGS, "train.epochs": "1", "train.max_steps": "2"}
QUICK_SENTENCES = 40
HELD_OUT = 10
"""Every so many training sentences one is held out."""
OUTSIDE = "O"


def measure(ask: Ask) -> Report:
    """Entity F1 on the development file, and the learning curve."""
    training, development = _read(ask.data, TRAINING), _read(ask.data, DEVELOPMENT)
    if ask.quick:
        training, development = training[:QUICK_SENTENCES], development[:QUICK_SENTENCES]
    settings = QUICK if ask.quick else SETTINGS
    kept = [row for at, row in enumerate(training) if at % HELD_OUT]
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as name:
        folder = Path(name)
        learned = learn(
            FAMILY,
            TASK,
            start=package_folder(),
            data=_write(kept, folder / "training.parquet"),
            held_out=_write(training[::HELD_OUT], folder / "held-out.parquet"),
            output=folder / "training",
            settings=settings,
            alone=ask.quick,
        )
        found = answers(
            FAMILY,
            TASK,
            checkpoint=Path(learned.record.model),
            table=_write(development, folder / "development.parquet"),
            output=folder / "run",
            alone=ask.quick,
        )
    gold = [_labels(row) for row in development]
    scores = {
        "no entities at all": _score(gold, [[OUTSIDE] * len(one) for one in gold]),
        "each word's most frequent label": _score(gold, most_frequent(kept, development)),
        "MiniLM, fine-tuned by manta train": _score(gold, [cast("list[str]", row["word_labels"]) for row in found]),
    }
    return _report(ask, learned, scores, settings, (len(kept), len(training) - len(kept), len(development)))


@dataclass(frozen=True, kw_only=True)
class Score:
    """Strict spans with their labels (seqeval)."""

    f1: float
    precision: float
    recall: float


def most_frequent(training: Sequence[Row], rows: Sequence[Row]) -> list[list[str]]:
    """Each word's most frequent label in ``training``; a word that is not there has none."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in training:
        for word, label in zip(_words(row), _labels(row), strict=True):
            counts[word][label] += 1
    best = {word: each.most_common(1)[0][0] for word, each in counts.items()}
    return [[best.get(word, OUTSIDE) for word in _words(row)] for row in rows]


def _score(gold: Sequence[list[str]], ours: Sequence[list[str]]) -> Score:
    from pipelines.tasks.entities import entity_scores

    found = entity_scores(gold, ours)
    return Score(f1=found["entity_f1"], precision=found["entity_precision"], recall=found["entity_recall"])


def _read(data: Path | None, name: str) -> list[Row]:
    """Sentences with words and labels. Raises UsageError for a file that is missing or of another form."""
    from jobs.labelled.files import files_of
    from jobs.labelled.formats import conll

    if data is None:
        raise UsageError(f"bench ner needs WNUT-17's files: --data FOLDER with {TRAINING} and {DEVELOPMENT}")
    return list(conll.rows(files_of(str(data / name))))


def _write(rows: Sequence[Row], file: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: [row[name] for row in rows] for name in ("words", "labels")}), file)
    return str(file)


def _words(row: Row) -> list[str]:
    return cast("list[str]", row["words"])


def _labels(row: Row) -> list[str]:
    return cast("list[str]", row["labels"])


def _report(
    ask: Ask,
    learned: Learned,
    scores: Mapping[str, Score],
    settings: Mapping[str, str],
    counts: tuple[int, int, int],
) -> Report:
    kept, held_out, development = counts
    _, baseline, ours = scores.values()
    table = Table(
        title=f"Development file, {development:,} sentences",
        columns=("labels by", "entity F1", "precision", "recall"),
        rows=tuple((name, one.f1, one.precision, one.recall) for name, one in scores.items()),
    )
    checks = (
        Check(what="entity F1 above each word's most frequent label", figure=ours.f1 - baseline.f1, mark=0.0, unit=""),
        Check(what="training", figure=learned.minutes, mark=10.0, at_least=False, unit="minutes"),
    )
    return Report(
        bench="ner",
        title="named entities of WNUT-17, from a text encoder",
        command=ask.command("ner"),
        tables=(table, learned.curve_table()),
        checks=() if ask.quick else checks,
        notes=(
            f"{kept:,} training sentences, {held_out} held out to choose the epoch; {learned.record.workers} workers, "
            f"{learned.record.steps} steps, {learned.minutes:.1f} minutes",
            "the encoder reads no capitals, and WNUT-17's entities are mostly ones that training never saw",
            settings_note(settings),
        ),
        versions=versions("torch", "transformers", "ray", "seqeval"),
    )
