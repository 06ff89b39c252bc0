"""Texts: Predictor beside transformers by hand (batches of 8, padded to the longest), on the CPU in float32.

BERT-base gives features of texts of mixed length, T5-small translates sentences, LUKE-base finds the named entities in
sentences. Weights are random, which costs the same as trained ones, so no hub is needed; T5 writes up to a fixed
length, because random weights hardly ever end a text. Both sides get the same rows and start from text or words. Their
answers are compared.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from jobs.bench.common import by_hand, models, texts
from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.report import Check, Report, Table
from jobs.bench.common.turns import Contender, in_turn, timed
from pipelines.family import Task
from stages.base import Row
from stages.errors import Failure
from stages.hardware import exact_float32
from stages.predictor import Predictor
from stages.settings import Predict

ROWS, QUICK_ROWS = {"features": 120, "translation": 160, "entities": 64}, 8
"""Of each task; a run hands over as many at once."""
TURNS = 3
WRITTEN = 32
"""Tokens that T5 writes at most."""
PREFIX = "translate English to German: "
TOLERANCE = 1e-4
Answers: TypeAlias = Sequence[Row | Failure]
Work: TypeAlias = Callable[[Sequence[Row]], Answers]


@dataclass(frozen=True, kw_only=True)
class _Race:
    """One task's two contenders on the same rows."""

    name: str
    inputs: texts.Inputs
    ours: Work
    by_hand: Work
    mark: float
    """How many times as fast ours should be."""

    def run(self, turns: int) -> _Run:
        """Both, in turn; each is asked once before, so that loading and warming up do not count."""
        answers: dict[str, Answers] = {}

        def keep(name: str, work: Work) -> Callable[[], None]:
            def once() -> None:
                answers[name] = work(self.inputs.rows)

            return once

        works = {f"{self.name}, ours": self.ours, f"{self.name}, by hand": self.by_hand}
        for work in works.values():
            work(self.inputs.rows[:2])
        named = [(name, timed(keep(name, work))) for name, work in works.items()]
        taken = in_turn([Contender(name=name, seconds=seconds, turns=turns) for name, seconds in named])
        same = sum(alike(one, other) for one, other in zip(*answers.values(), strict=True))
        seconds, by_hand_seconds = taken.values()
        return _Run(race=self, seconds=seconds, by_hand=by_hand_seconds, same=same)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """How it went: median seconds, and how many answers are the same."""

    race: _Race
    seconds: float
    by_hand: float
    same: int

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.race.inputs.rows)

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.by_hand / self.seconds


def measure(ask: Ask) -> Report:
    """Rows a second of both, for each task."""
    import torch

    ask.refuse_data("text")
    exact_float32()
    torch.set_num_threads(cores())
    runs = []
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as scratch:
        for name, make in {"features": _features, "translation": _translation, "entities": _entities}.items():
            tell(f"{name}: a checkpoint of random weights is written")
            race = make(Path(scratch, name), QUICK_ROWS if ask.quick else ROWS[name], ask.quick)
            runs.append(race.run(1 if ask.quick else TURNS))
    return _report(ask, runs)


def _report(ask: Ask, runs: Sequence[_Run]) -> Report:
    rows = tuple(
        (one.race.name, one.count / one.seconds, one.count / one.by_hand, one.ratio, f"{one.same} of {one.count}")
        for one in runs
    )
    columns = ("task", "manta Predictor, rows/s", "by hand, rows/s", "× by hand", "equal answers")
    speed = [Check(what=f"{one.race.name}, against by hand", figure=one.ratio, mark=one.race.mark) for one in runs]
    share = sum(one.same for one in runs) / sum(one.count for one in runs)
    equal = Check(what="answers that are equal", figure=100 * share, mark=100, unit="%")
    return Report(
        bench="text",
        title="models on texts",
        command=ask.command("text"),
        tables=(Table(title="float32 on the CPU", columns=columns, rows=rows),),
        checks=() if ask.quick else (*speed, equal),
        notes=(
            "; ".join(f"{one.count} rows for {one.race.name}, sha256 {one.race.inputs.sha256}" for one in runs),
            f"by hand: AutoTokenizer and AutoModel on {by_hand.BATCH} rows at a time in their order, padded to the "
            f"longest; random weights; medians of {TURNS}",
            f"T5 writes greedily, {WRITTEN} tokens a sentence; LUKE is asked about every span of up to 16 words, its "
            "entity vocabulary has only its special entries, which changes no work",
            f"equal: texts, labels and spans exactly, numbers within {TOLERANCE}",
        ),
        versions=versions("torch", "transformers", "tokenizers"),
    )


def alike(one: object, other: object) -> bool:
    """Whether an answer has all that the other has: numbers within TOLERANCE, everything else exactly."""
    if isinstance(other, dict):
        return isinstance(one, dict) and all(alike(one.get(name), each) for name, each in other.items())
    if isinstance(other, list):
        if not isinstance(one, list) or len(one) != len(other):
            return False
        return all(alike(each, another) for each, another in zip(one, other, strict=True))
    if isinstance(other, float):
        return isinstance(one, float) and math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return one == other


def _features(folder: Path, count: int, small: bool) -> _Race:
    from pipelines.tasks.features import Features

    checkpoint = models.bert_base(folder, small=small)
    return _Race(
        name="BERT-base, features",
        inputs=texts.texts(count),
        ours=_predictor(Features(checkpoint)),
        by_hand=by_hand.features(folder),
        mark=1.6,
    )


def _translation(folder: Path, count: int, small: bool) -> _Race:
    from pipelines.t5 import T5Translation

    checkpoint = models.t5_small(folder, prefix=PREFIX, written=WRITTEN, small=small)
    return _Race(
        name="T5-small, translation",
        inputs=texts.sentences(count),
        ours=_predictor(T5Translation(checkpoint)),
        by_hand=by_hand.translation(folder, PREFIX),
        mark=1.4,
    )


def _entities(folder: Path, count: int, small: bool) -> _Race:
    from pipelines.tasks.entity_span_classification import EntitySpanClassification

    checkpoint = models.luke_base(folder, small=small)
    task = EntitySpanClassification(checkpoint)
    return _Race(
        name="LUKE-base, named entities",
        inputs=texts.sentences(count, words=True),
        ours=_predictor(task),
        by_hand=by_hand.entities(folder, task.options.max_span_words),
        mark=2.0,
    )


def _predictor(task: Task) -> Work:
    return Predictor(task, Predict(dtype="float32", device="cpu"), threads=cores()).open().predict
