"""Spoken digits: what a small SEW-D learns of 500 recordings from nothing, and how it does on a speaker it never heard.

Recordings of single digits (``--data FOLDER`` with train/ and test/). One speaker is left out of the training folder.
The classifier's hearing then starts the transcription, which learns from three digits in a row, made of the same
recordings.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.bench.common.ask import Ask
from jobs.bench.common.digits import NAMES, Spoken, alone, in_threes, read_digits
from jobs.bench.common.filterbank import write_classifier, write_listener
from jobs.bench.common.lessons import Lesson, share_right
from jobs.bench.common.machine import versions
from jobs.bench.common.report import Cell, Check, Report, Table

LEFT_OUT = "yweweler"
"""The last speaker by name; chosen before anything was measured."""
COPIES, THREES, TEST_THREES = 8, 1500, 60
"""Copies of each recording that training sees, rows of three digits to learn from, and to be judged by."""
QUICK = 12
"""Recordings of each folder where it is only to be seen that the bench works."""
CLASSIFY = Lesson(
    family="sew_d",
    task="audio-classification",
    settings={
        "train.epochs": "14",
        "train.learning_rate": "1e-3",
        "train.token_budget": "800",
        "train.weight_decay": "0.05",
        "train.schedule": "cosine",
    },
    workers=2,
)
WRITE = Lesson(
    family="sew_d",
    task="automatic-speech-recognition",
    settings={
        "train.epochs": "20",
        "train.learning_rate": "1e-3",
        "train.token_budget": "1600",
        "train.schedule": "cosine",
    },
    workers=2,
)


def measure(ask: Ask) -> Report:
    """Accuracy on the test folder and on the speaker left out; word error rate of three digits in a row."""
    spoken = read_digits(ask.data)
    copies, threes, judged = (1, 6, 6) if ask.quick else (COPIES, THREES, TEST_THREES)
    if ask.quick:
        spoken = {split: some[:: max(1, len(some) // QUICK)] for split, some in spoken.items()}
    known = [one for one in spoken["train"] if one.speaker != LEFT_OUT]
    left_out = [one for some in spoken.values() for one in some if one.speaker == LEFT_OUT]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        write_classifier(scratch / "start", [str(digit) for digit in range(len(NAMES))])
        classify, write = (one.quick() if ask.quick else one for one in (CLASSIFY, WRITE))
        first = classify.learn(scratch / "start", alone(known, copies=copies), scratch / "classify")
        accuracy = _accuracy(classify, first.model, spoken["test"], left_out, scratch / "classified")
        write_listener(scratch / "listener", Path(first.model))
        second = write.learn(scratch / "listener", in_threes(known, threes, varied=True, seed=1), scratch / "write")
        wer = _wer(write, second.model, spoken["test"], judged, scratch / "written")
    minutes = (time.perf_counter() - began) / 60
    checks = (
        Check(what="accuracy on the test folder", figure=accuracy["the test folder"][0], mark=0.9, unit=""),
        Check(what="all of it", figure=minutes, mark=20, at_least=False, unit="minutes"),
    )
    speakers = len({one.speaker for one in known})
    return Report(
        bench="digits",
        title="spoken digits, a speaker left out",
        command=ask.command("digits"),
        tables=(
            _table("Single digits", "accuracy", accuracy, first.seconds["loop"] / 60),
            _table("Three digits in a row, from the test folder", "word error rate", wer, second.seconds["loop"] / 60),
        ),
        checks=() if ask.quick else checks,
        notes=(
            "SEW-D of 4 layers, 128 wide, its first convolution started as a bank of filters, all else random; trained "
            f"on {len(known)} recordings of {speakers} speakers, {copies} copies of each at other speeds, with noise; "
            f"{LEFT_OUT} is left out of training, not of the test folder",
            f"digits: {classify.told()}; {classify.workers} workers",
            f"rows of three: {threes}, from the trained classifier's hearing; {write.told()}; {write.workers} workers",
        ),
        versions=versions("torch", "transformers", "ray"),
    )


Scores = dict[str, tuple[float, int]]
"""By what was judged: the figure, and of how many rows."""


def _accuracy(lesson: Lesson, model: str, test: Sequence[Spoken], left_out: Sequence[Spoken], output: Path) -> Scores:
    """Over the whole test folder, its known speakers, and all recordings of the speaker left out."""
    asked = [*test, *(one for one in left_out if not any(one is other for other in test))]
    rows = alone(asked)
    answers = lesson.answer(model, [{"audio": row["audio"]} for row in rows], output)
    right = [str(one.digit) for one in asked]
    groups = {
        "the test folder": list(range(len(test))),
        "the speakers it knows, test folder": [at for at, one in enumerate(test) if one.speaker != LEFT_OUT],
        f"{LEFT_OUT}, left out, all recordings": [at for at, one in enumerate(asked) if one.speaker == LEFT_OUT],
    }
    return {
        name: (share_right([answers[at] for at in some], [right[at] for at in some]), len(some))
        for name, some in groups.items()
        if some
    }


def _wer(lesson: Lesson, model: str, test: Sequence[Spoken], count: int, output: Path) -> Scores:
    """Over rows of the speakers that it knows, and of the one left out."""
    import jiwer

    found: Scores = {}
    for name, some in {
        "the speakers it knows": [one for one in test if one.speaker != LEFT_OUT],
        f"{LEFT_OUT}, left out": [one for one in test if one.speaker == LEFT_OUT],
    }.items():
        if some:
            rows = in_threes(some, count, varied=False, seed=2)
            answers = lesson.answer(model, [{"audio": row["audio"]} for row in rows], output / name)
            right, ours = [str(row["text"]) for row in rows], [str(one["text"]).lower() for one in answers]
            found[name] = float(jiwer.wer(right, ours)), len(rows)
    return found


def _table(title: str, figure: str, scores: Mapping[str, tuple[float, int]], minutes: float) -> Table:
    rows: list[tuple[Cell, ...]] = [(name, count, score) for name, (score, count) in scores.items()]
    return Table(
        title=f"{title}; {minutes:.1f} minutes in the loop", columns=("what", "rows", figure), rows=tuple(rows)
    )
