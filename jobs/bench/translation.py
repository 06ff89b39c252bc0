"""Translation: a small T5 that learns German from nothing but captions, by ``manta train``, beside copying the source.

``--data FOLDER`` holds Multi30k's captions. The model starts from random weights and a vocabulary made of the training
captions. Some training captions are held out to choose the best model, so that the validation captions are looked at
once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.bench.common.answering import answers
from jobs.bench.common.ask import Ask
from jobs.bench.common.captions import Pairs, read_pairs, write_pairs, write_untrained
from jobs.bench.common.learning import Learned, learn, settings_note
from jobs.bench.common.machine import versions
from jobs.bench.common.report import Check, Report, Table

FAMILY, TASK = "t5", "translation"
PIECES = 3_000
SIZES = {"d_model": 192, "d_kv": 32, "num_heads": 6, "d_ff": 768, "num_layers": 3}
QUICK_SIZES = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1}
SETTINGS = {
    "train.epochs": "10",
    "train.learning_rate": "1e-3",
    "train.token_budget": "1000",
    "train.evaluate_steps": "400",
    "train.rates": '{"shared": 2}',
}
"""What ``manta train --set`` is told."""
QUICK = {**SETTINGS, "train.epochs": "1", "train.evaluate_steps": "0"}
HELD_OUT = 40
"""Every so many training captions one is held out."""
BEAMS = 4
SHOWN = 3
"""Translations that the report shows."""


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Translations of the validation captions."""

    name: str
    texts: list[str]
    bleu: float


def measure(ask: Ask) -> Report:
    """BLEU on the validation captions, and the learning curve."""
    training, validation = read_pairs(ask.data)
    settings, sizes, pieces = (QUICK, QUICK_SIZES, 200) if ask.quick else (SETTINGS, SIZES, PIECES)
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as scratch:
        folder = Path(scratch)
        held_out = training[::HELD_OUT]
        kept = [pair for at, pair in enumerate(training) if at % HELD_OUT]
        write_untrained(folder / "start", kept, pieces=pieces, sizes=sizes)
        learned = learn(
            FAMILY,
            TASK,
            start=folder / "start",
            data=write_pairs(kept, folder / "training.parquet"),
            held_out=write_pairs(held_out, folder / "held-out.parquet"),
            output=folder / "training",
            settings=settings,
            alone=ask.quick,
        )
        table = write_pairs(validation, folder / "validation.parquet")
        beams = (1,) if ask.quick else (1, BEAMS)
        judged = [_judged("copying the source", [text for text, _ in validation], validation)]
        for number in beams:
            rows = answers(
                FAMILY,
                TASK,
                checkpoint=Path(learned.record.model),
                table=table,
                output=folder / f"beams-{number}",
                options={"num_beams": number},
                alone=ask.quick,
            )
            name = f"the trained model, {number} beams" if number > 1 else "the trained model, greedy"
            judged.append(_judged(name, [str(row["translation"]) for row in rows], validation))
    return _report(ask, learned, judged, validation, settings, (len(kept), len(held_out)))


def _judged(name: str, texts: list[str], validation: Pairs) -> _Judged:
    import sacrebleu

    found = sacrebleu.corpus_bleu(texts, [[right for _, right in validation]])
    return _Judged(name=name, texts=texts, bleu=float(found.score))


def _report(
    ask: Ask,
    learned: Learned,
    judged: list[_Judged],
    validation: Pairs,
    settings: Mapping[str, str],
    counts: tuple[int, int],
) -> Report:
    copied, last = judged[0], judged[-1]
    scores = Table(
        title=f"{len(validation):,} validation captions",
        columns=("translations", "BLEU"),
        rows=tuple((one.name, one.bleu) for one in judged),
    )
    shown = zip(validation[:SHOWN], last.texts, strict=False)
    examples = Table(
        title=f"The first {SHOWN} of them",
        columns=("source", "reference", last.name),
        rows=tuple((source, right, ours) for (source, right), ours in shown),
    )
    checks = (
        Check(what="BLEU above copying the source", figure=last.bleu - copied.bleu, mark=5.0, unit="points"),
        Check(what="training", figure=learned.minutes, mark=15.0, at_least=False, unit="minutes"),
    )
    record = learned.record
    return Report(
        bench="translation",
        title="a small T5 learns to translate captions",
        command=ask.command("translation"),
        tables=(scores, examples, learned.curve_table()),
        checks=() if ask.quick else checks,
        notes=(
            f"{counts[0]:,} training captions, {counts[1]} held out to choose the model; {record.workers} workers, "
            f"{record.steps} steps, {learned.minutes:.1f} minutes",
            "BLEU is sacrebleu's, with its own tokeniser and capitals as they are",
            settings_note(settings),
            "the model: " + ", ".join(f"{name} {value}" for name, value in SIZES.items()) + f"; {PIECES:,} pieces",
        ),
        versions=versions("torch", "transformers", "ray", "sacrebleu"),
    )
