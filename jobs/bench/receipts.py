"""Receipts: what a small LayoutLM learns of 400 of them, where boxes help, beside the published pretrained one.

ICDAR-2019's receipts (``--data FOLDER`` with receipts.jsonl), train to test. Labels are made from the key fields. The
whole encoder starts from all-MiniLM-L6-v2, a text model: it has never seen where a word stands. Every tenth training
receipt is held out to choose the best epoch, so that the test split is looked at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobs.bench.common.ask import Ask
from jobs.bench.common.learning import Learned, learn, settings_note
from jobs.bench.common.machine import versions
from jobs.bench.common.minilm import write_layoutlm
from jobs.bench.common.receipts import LABELS, Receipt, best_fields, read_receipts, score_fields, write_table
from jobs.bench.common.report import Cell, Check, Report, Table

if TYPE_CHECKING:
    from jobs.result import Result

FAMILY, TASK = "layoutlm", "token-classification"
PUBLISHED = 0.9438
"""LayoutLM base, pretrained on 11 million pages (Xu et al. 2019, table 5), by the challenge's score."""
SETTINGS = {
    "train.epochs": "16",
    "train.learning_rate": "1e-4",
    "train.token_budget": "1600",
    "train.warmup": "0.1",
    "train.rates": '{"head": 10, "(x|y|h|w)_position": 0.03}',
    "augment.box_jitter": "4",
    "augment.page_shift": "30",
    "augment.page_scale": "0.1",
    "augment.word_dropout": "0.1",
}
"""What ``manta train --set`` is told."""
QUICK = {**SETTINGS, "train.epochs": "1"}
QUICK_RECEIPTS = 40
HELD_OUT = 10
"""Every so many training receipts one is held out."""


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One training and how it does on the test split."""

    learned: Learned
    spans: float
    exact: float
    letters: float


def measure(ask: Ask) -> Report:
    """Entity F1 and the challenge's score, with boxes and without."""
    receipts = read_receipts(ask.data)
    splits = {name: [one for one in receipts if one.split == name] for name in ("train", "test")}
    if ask.quick:
        splits = {name: some[:QUICK_RECEIPTS] for name, some in splits.items()}
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        write_layoutlm(scratch / "start", LABELS)
        settings = QUICK if ask.quick else SETTINGS
        learned = {
            name: _learn(scratch / str(boxes), splits, settings, scratch / "start", boxes=boxes)
            for name, boxes in (("words and boxes", True), ("words alone, all boxes 0", False))
        }
        seen = _own_ocr(scratch, splits["test"], next(iter(learned.values())).learned.record.model)
    return _report(ask, splits, settings, learned, seen)


def _learn(
    place: Path, splits: Mapping[str, Sequence[Receipt]], settings: Mapping[str, str], start: Path, *, boxes: bool
) -> _Judged:
    from jobs.run import run

    place.mkdir()
    tables = {
        "train": [one for at, one in enumerate(splits["train"]) if at % HELD_OUT],
        "held_out": [one for at, one in enumerate(splits["train"]) if not at % HELD_OUT],
        "test": splits["test"],
    }
    files = {name: write_table(some, place / f"{name}.parquet", boxes=boxes) for name, some in tables.items()}
    learned = learn(
        FAMILY,
        TASK,
        start=start,
        data=files["train"],
        held_out=files["held_out"],
        output=place / "training",
        settings=settings,
    )
    result = run(FAMILY, TASK, [files["test"]], str(place / "run"), checkpoint=learned.record.model)
    return _judge(learned, result, splits["test"])


def _judge(learned: Learned, result: Result, test: Sequence[Receipt]) -> _Judged:
    from seqeval.metrics import f1_score

    rows = {row["uri"]: row for row in result.rows.to_table().to_pylist()}
    gold = [cast("list[str]", one.row["labels"]) for one in test]
    spans = float(f1_score(gold, [rows[one.name]["word_labels"] for one in test], zero_division=0))
    found = score_fields(
        {one.name: one.fields for one in test}, {name: best_fields(row["entities"]) for name, row in rows.items()}
    )
    return _Judged(learned=learned, spans=spans, exact=found.exact, letters=found.letters)


def _own_ocr(scratch: Path, test: Sequence[Receipt], model: str) -> Table:
    """The test receipts whose images are at hand, read by our own OCR."""
    from jobs.run import run

    some = [one for one in test if one.image is not None and one.image.is_file()]
    columns = ("words by", "receipts", "fields, exact text, F1", "fields, letters and digits, F1")
    if not some:
        return Table(title="Images read by our own OCR: none are at hand", columns=columns, rows=())
    result = run(FAMILY, TASK, [str(one.image) for one in some], str(scratch / "ocr"), checkpoint=model)
    rows = result.rows.to_table(columns=["uri", "entities"]).to_pylist()
    found = {Path(row["uri"]).stem: best_fields(row["entities"]) for row in rows}
    score = score_fields({Path(str(one.image)).stem: one.fields for one in some}, found)
    row = ("tesseract (tesserocr)", len(some), score.exact, score.letters)
    return Table(title="Images of the test split, read by our own OCR", columns=columns, rows=(row,))


def _ceiling(test: Sequence[Receipt]) -> tuple[float, float]:
    """The score of the gold labels' own words: slips of the key fields and of the lines are nobody's to find."""
    from pipelines.tasks.entities import Scheme

    scheme = Scheme(LABELS)
    found: dict[str, dict[str, str]] = {}
    for one in test:
        words, labels = cast("list[str]", one.row["words"]), cast("list[str]", one.row["labels"])
        entities = scheme.entities(labels, [1.0] * len(labels))
        found[one.name] = best_fields(
            {
                "label": each.label,
                "score": each.score,
                "word_start": each.start,
                "word_end": each.end,
                "text": " ".join(words[each.start : each.end]),
            }
            for each in entities
        )
    score = score_fields({one.name: one.fields for one in test}, found)
    return score.exact, score.letters


def _report(
    ask: Ask,
    splits: Mapping[str, Sequence[Receipt]],
    settings: Mapping[str, str],
    learned: Mapping[str, _Judged],
    seen: Table,
) -> Report:
    exact, letters = _ceiling(splits["test"])
    scores: list[tuple[Cell, ...]] = [
        (name, one.spans, one.exact, one.letters, one.learned.minutes) for name, one in learned.items()
    ]
    scores.append(("the labels themselves", 1.0, exact, letters, None))
    scores.append(("LayoutLM base, pretrained on pages, as published", None, PUBLISHED, None, None))
    test = Table(
        title=f"Test split, {len(splits['test'])} receipts",
        columns=("what", "strict spans, F1", "fields, exact text, F1", "fields, letters and digits, F1", "minutes"),
        rows=tuple(scores),
    )
    curves = [one.learned.curve_table(f"Learning curve, {name}") for name, one in learned.items()]
    with_boxes, without = learned.values()
    checks = (
        Check(what="entity F1 on the test split, strict spans", figure=with_boxes.spans, mark=0.85, unit=""),
        Check(what="what boxes add to it", figure=with_boxes.spans - without.spans, mark=0.0, unit=""),
    )
    return Report(
        bench="receipts",
        title="a small LayoutLM on 400 receipts, from a text encoder",
        command=ask.command("receipts"),
        tables=(test, seen, *curves),
        checks=() if ask.quick else checks,
        notes=(
            "labels are runs of words that spell the key fields, or come near them (jobs/labelled/fields.py)",
            "fields are scored as the challenge does, one text a field, here of the entity with the highest score",
            settings_note(settings),
            f"{len(splits['train'])} training receipts, every {HELD_OUT}th held out to choose the epoch",
        ),
        versions=versions("torch", "transformers", "ray"),
    )
