"""Models on rows: Predictor beside transformers.pipeline, on the CPU or on the GPU that is there.

BERT-base classifies a fixed list of texts of mixed length; LayoutLM-base answers questions on pages of words and
boxes. Weights are random, which costs the same as trained ones, so no hub is needed. Both sides get the same rows and
start from text or words: tokenising is counted, loading is not. In float32 the answers of both are compared.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from jobs.bench.common import models, peers, texts
from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.peak import SIDES, matrix_flops
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.turns import Contender, in_turn, timed
from pipelines.family import Task
from stages.base import Row
from stages.errors import Failure
from stages.hardware import exact_float32, native_bfloat16, pick_device
from stages.predictor import Predictor
from stages.settings import Predict

if TYPE_CHECKING:
    import torch

CALL_ROWS = 256
"""Rows that Predictor is handed at once: what ``manta run`` hands over of a table."""
SIZES = {"cpu": (200, 64), "cuda": (4_000, 400), "quick": (24, 8)}
"""Texts and pages by the kind of device."""
Format: TypeAlias = Literal["float32", "bfloat16"]
F32: Format = "float32"
BF16: Format = "bfloat16"
T = TypeVar("T")
Work: TypeAlias = Callable[[Sequence[Row]], Sequence[Row | Failure]]
"""Rows to answers."""
OURS, PIPELINE = "manta Predictor", "transformers.pipeline"


def measure(ask: Ask) -> Report:
    """Rows, tokens and share of the matrix peak a second, for both tasks."""
    import torch

    device = pick_device("auto")
    exact_float32()
    torch.set_num_threads(cores())
    text_count, page_count = SIZES["quick" if ask.quick else device.type]
    rows = texts.texts(text_count)
    pages = texts.annotated_pages(ask.data, page_count) if ask.data else texts.pages(page_count)
    formats: list[Format] = [F32, BF16] if native_bfloat16(device) else [F32]
    peaks: dict[str, float] = {name: matrix_flops(device, getattr(torch, name)) for name in formats}
    tell(f"matrix peak: {', '.join(f'{name} {peak / 1e12:.2f} TFLOP/s' for name, peak in peaks.items())}")
    turns = 1 if ask.quick else 3
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as scratch:
        texting = _texting(Path(scratch), rows.rows, device, formats, turns)
        asking = _asking(Path(scratch), pages.rows, device, formats, turns)
        tables = (texting.table("BERT-base, text classification", peaks), asking.table(_ASKING, peaks))
        marks = (*_text_marks(texting, formats, device), *_question_marks(asking, formats, device))
        same = (texting.agreement(), asking.agreement())
    side = SIDES[device.type]
    return Report(
        bench="predict",
        title="models on rows",
        command=ask.command("predict"),
        tables=tables,
        checks=marks if not ask.quick else (),
        notes=(
            f"{len(rows.rows)} texts, sha256 {rows.sha256}; {len(pages.rows)} pages with a question each, sha256 "
            f"{pages.sha256}; Predictor is handed {CALL_ROWS} rows at once",
            f"float32 answers equal to the pipeline's: {same[0]} of the texts, {same[1]} of the questions",
            f"tokens are the rows' own, padding not counted; matrix peak: a {side}³ product measured here, "
            + ", ".join(f"{peak / 1e12:.3g} TFLOP/s in {name}" for name, peak in peaks.items()),
            f"random weights; medians of {turns}, the pipeline padded to max_length once",
        ),
        versions=versions("torch", "transformers", "tokenizers"),
    )


_ASKING = "LayoutLM-base, questions on pages of words and boxes"


@dataclass(kw_only=True)
class _Race:
    """One task's contenders, what they took and what they answered."""

    rows: Sequence[Row]
    folder: Path
    tokens: list[int] = field(default_factory=list)
    """Lengths of the sequences that the model sees."""
    contenders: list[Contender] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)
    """Each contender's number format."""
    answers: dict[str, list[tuple[object, float]]] = field(default_factory=dict)
    """Each contender's last answers and scores."""
    taken: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, number_format: str, work: Work, turns: int) -> None:
        """A contender; it is asked once now, so that loading and warming up do not count."""
        full = f"{name}, {number_format}"
        work(self.rows[:2])

        def run() -> None:
            self.answers[full] = [_answer(one) for one in work(self.rows)]

        self.formats[full] = number_format
        self.contenders.append(Contender(name=full, seconds=timed(run), turns=turns))

    def run(self) -> None:
        """All of them, in turn."""
        self.taken = in_turn(self.contenders)

    def ratio(self, ours: str, peer: str) -> float:
        """How many times as fast ``ours`` is."""
        return self.taken[peer] / self.taken[ours]

    def table(self, title: str, peaks: dict[str, float]) -> Table:
        """A row a contender."""
        work = models.flops(self.folder, self.tokens)
        peer = f"{PIPELINE}, {F32}"
        rows: list[tuple[Cell, ...]] = [
            (
                name,
                len(self.rows) / seconds,
                sum(self.tokens) / seconds,
                100 * work / seconds / peaks[self.formats[name]],
                self.taken[peer] / seconds,
            )
            for name, seconds in self.taken.items()
        ]
        columns = ("contender", "rows/s", "tokens/s", "% of matrix peak", f"× {peer}")
        return Table(title=title, columns=columns, rows=tuple(rows))

    def agreement(self) -> str:
        """How many of ours are the pipeline's, in float32: the same label or answer, scores within 1e-4."""
        ours, theirs = (self.answers[f"{name}, {F32}"] for name in (OURS, PIPELINE))
        same = sum(a[0] == b[0] and math.isclose(a[1], b[1], abs_tol=1e-4) for a, b in zip(ours, theirs, strict=True))
        return f"{same} of {len(ours)}"


def _answer(one: Row | Failure) -> tuple[object, float]:
    """The label or answer of a row and its score."""
    assert isinstance(one, dict), f"a row failed: {one}"
    score = one["score"]
    assert isinstance(score, float)
    return one.get("label", one.get("answer")), score


def _texting(scratch: Path, rows: Sequence[Row], device: torch.device, formats: Sequence[Format], turns: int) -> _Race:
    from pipelines.tasks.text_classification import TextClassification

    checkpoint = models.bert_base(scratch / "bert")
    race = _Race(rows=rows, folder=checkpoint.folder)
    for name in formats:
        _add_ours(race, TextClassification(checkpoint), name, device, turns)
        pipe = peers.open_pipeline("text-classification", checkpoint.folder, device, name)
        race.add(PIPELINE, name, peers.Text(pipe=pipe), turns)
        if device.type == "cuda":
            race.add(f"{PIPELINE} batch 128", name, peers.Text(pipe=pipe, batch_size=128), turns)
        if name == F32 or device.type == "cuda":
            race.add(f"{PIPELINE} padded to max_length", name, peers.Text(pipe=pipe, padding="max_length"), 1)
    race.run()
    return race


def _asking(scratch: Path, rows: Sequence[Row], device: torch.device, formats: Sequence[Format], turns: int) -> _Race:
    from pipelines.tasks.document_question_answering import DocumentQuestionAnswering

    checkpoint = models.layoutlm_base(scratch / "layoutlm")
    race = _Race(rows=rows, folder=checkpoint.folder)
    for name in formats:
        _add_ours(race, DocumentQuestionAnswering(checkpoint), name, device, turns)
        pipe = peers.open_pipeline("document-question-answering", checkpoint.folder, device, name)
        race.add(PIPELINE, name, peers.Questions(pipe=pipe), turns)
    race.run()
    return race


def _add_ours(race: _Race, task: Task, name: Format, device: torch.device, turns: int) -> None:
    """Predictor; on a GPU also its model half alone, which is what the GPU's process does in ``manta run``."""
    settings = Predict(dtype=name, device="cuda" if device.type == "cuda" else "cpu")
    predictor = Predictor(task, settings, threads=cores()).open()
    encoded = [predictor.encode_rows(call) for call in _calls(race.rows)]
    race.tokens = [example.length for call in encoded for record in call for example in record.examples]
    race.add(OURS, name, lambda rows: [one for call in _calls(rows) for one in predictor.predict(call)], turns)
    if device.type == "cuda":
        half = [one for call in encoded for one in call]
        race.add(
            f"{OURS}, model half",
            name,
            lambda rows: [one for call in _calls(half[: len(rows)]) for one in predictor.run_encoded(call)],
            turns,
        )


def _calls(rows: Sequence[T]) -> list[Sequence[T]]:
    return [rows[start : start + CALL_ROWS] for start in range(0, len(rows), CALL_ROWS)]


def _text_marks(race: _Race, formats: Sequence[Format], device: torch.device) -> list[Check]:
    """Those asked for on a CPU; a GPU has none."""
    if device.type != "cpu":
        return []
    peer, padded = f"{PIPELINE}, {F32}", f"{PIPELINE} padded to max_length, {F32}"
    marks = {F32: (1.6, 2.5), BF16: (5.0, 8.0)}
    return [
        Check(what=f"texts, ours in {name} against {against}", figure=race.ratio(f"{OURS}, {name}", against), mark=mark)
        for name in formats
        for against, mark in zip((peer, padded), marks[name], strict=True)
    ]


def _question_marks(race: _Race, formats: Sequence[Format], device: torch.device) -> list[Check]:
    if device.type != "cpu":
        return []
    peer, marks = f"{PIPELINE}, {F32}", {F32: 1.1, BF16: 4.0}
    return [
        Check(
            what=f"questions, ours in {name} against {peer}",
            figure=race.ratio(f"{OURS}, {name}", peer),
            mark=marks[name],
        )
        for name in formats
    ]
