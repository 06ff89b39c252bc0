"""OCR: speed and words of Manta, the tesseract program and transformers' image processor on the same images.

Every contender has as many processes as there are cores, each with one thread. Speed of ``manta run layoutlm`` is that
from the first committed part to the last (start-up apart); on copies of the folder also with everything from the
command's start to its exit. Words are judged against the annotated lines.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from jobs import pools
from jobs.bench.common import peers
from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.documents import Annotated, annotated, digest, write_scans
from jobs.bench.common.machine import cores, program_version, versions
from jobs.bench.common.programs import run_manta
from jobs.bench.common.quality import Quality, quality
from jobs.bench.common.readers import TRIALS, ReadPath, Words
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.steady import steady
from jobs.bench.common.turns import Contender, in_turn, timed
from stages.settings import Ocr

FULL, QUICK = (67, 10), (36, 2)
"""Generated images, and copies of them for the long run."""
OURS, TESSERACT, PROCESSOR = "manta's read path", "tesseract program", "LayoutLMv2ImageProcessorPil(apply_ocr)"
RUN = "manta run layoutlm"
"""Contenders."""


@dataclass(kw_only=True)
class Bout:
    """The images, and what each contender read."""

    images: Sequence[Annotated]
    scratch: Path
    words: dict[str, Words] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """The image files."""
        return [one.path for one in self.images]

    def reading(self, name: str, read: Callable[[Sequence[Path]], Words], turns: int) -> Contender:
        """A contender that reads all images, and is kept to its words."""

        def work() -> None:
            self.words[name] = read(self.paths)

        return Contender(name=name, seconds=timed(work), turns=turns)

    def quality(self, words: Words) -> Quality:
        """How well these words were read."""
        return quality((one.words, words[one.path]) for one in self.images)


def measure(ask: Ask) -> Report:
    """Speed, words, and settings side by side."""
    os.environ["OMP_THREAD_LIMIT"] = "1"  # tesseract's threads take each other's cores: several times slower
    count, copies = QUICK if ask.quick else FULL
    turns = 1 if ask.quick else 3
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        given = (
            annotated(ask.data, count if ask.quick else None)
            if ask.data
            else annotated(write_scans(scratch / "scans", count))
        )
        bout = Bout(images=given, scratch=scratch)
        taken = _race(bout, turns)
        many = _many(bout, copies)
        tried = _trials(bout)
        sha256 = digest(bout.paths)
    return Report(
        bench="ocr",
        title=f"words of {len(bout.images)} images",
        command=ask.command("ocr"),
        tables=(_speed(bout, taken), _copies(many, copies, len(bout.images)), _settings(bout, tried)),
        checks=() if ask.quick else _checks(bout, taken, many),
        notes=(
            f"{len(bout.images)} images, sha256 {sha256}, with {sum(len(one.words) for one in bout.images):,} words; "
            f"{cores()} processes each",
            "words count as right letter by letter, signs included and case not, as often as they stand on both sides",
            f"{RUN} runs a tiny checkpoint, so that OCR is what takes time; a core is shared as {pools.PLAN_CPU:.2f} "
            f"planning, {pools.READ_CPU:.2f} reading and {pools.PREDICT_CPU:.2f} predicting, the rest is spreading "
            "(jobs/pools.py; manta bench shares tries others)",
        ),
        versions={**versions("tesserocr", "transformers", "ray"), "tesseract": program_version("tesseract")},
    )


# ---- speed


def _race(bout: Bout, turns: int) -> dict[str, float]:
    """Median seconds of each contender over all images."""
    checkpoint = _tiny(bout.scratch)
    folder = _copied(bout, 1)
    with ExitStack() as stack:
        ours = stack.enter_context(ReadPath(cores()))
        processor = stack.enter_context(peers.processor(cores()))
        for warm in (ours, processor):
            warm(bout.paths[: cores()])
        return in_turn(
            [
                bout.reading(OURS, ours, turns),
                bout.reading(TESSERACT, lambda paths: peers.tesseract(paths, cores()), turns),
                Contender(
                    name=RUN,
                    seconds=lambda: _run_seconds(folder, checkpoint, bout.scratch, len(bout.images)),
                    turns=turns,
                ),
                bout.reading(PROCESSOR, processor, turns),
            ]
        )


def _run_seconds(folder: Path, checkpoint: str, scratch: Path, images: int) -> float:
    """Seconds that the images take once a run is under way."""
    return images / _run(folder, checkpoint, scratch)[1]


def _run(folder: Path, checkpoint: str, scratch: Path) -> tuple[float, float]:
    """(seconds from start to exit, pages a second once under way) of ``manta run layoutlm``."""
    output = Path(tempfile.mkdtemp(prefix="output-", dir=scratch))
    arguments = ("layoutlm", "--task", "token-classification", "--checkpoint", checkpoint, "--input", str(folder))
    watched, record = run_manta(*arguments, "--output", str(output))
    assert not record["errors"], record["errors"]
    return watched.seconds, steady(record, watched.began).pages_per_second


@dataclass(frozen=True, kw_only=True)
class Many:
    """Copies of the folder."""

    pages: int
    tesseract: float
    """Seconds."""
    manta: float
    """Seconds, start-up and exit included."""
    manta_rate: float
    """Pages a second once under way."""


def _many(bout: Bout, copies: int) -> Many:
    folder = _copied(bout, copies)
    paths = sorted(folder.iterdir())
    start = time.perf_counter()
    peers.tesseract(paths, cores())
    tesseract = time.perf_counter() - start
    tell(f"{TESSERACT}, {len(paths)} pages: {tesseract:.1f} s")
    seconds, rate = _run(folder, _tiny(bout.scratch), bout.scratch)
    tell(f"{RUN}, {len(paths)} pages: {seconds:.1f} s")
    return Many(pages=len(paths), tesseract=tesseract, manta=seconds, manta_rate=rate)


def _copied(bout: Bout, copies: int) -> Path:
    """A folder with so many copies of each image."""
    folder = bout.scratch / f"copies-{copies}"
    folder.mkdir()
    for copy in range(copies):
        for number, path in enumerate(bout.paths):
            shutil.copyfile(path, folder / f"{copy:02d}-{number:04d}{path.suffix}")
    return folder


def _tiny(scratch: Path) -> str:
    from pipelines import family

    folder = scratch / "checkpoint"
    if not folder.exists():
        folder.mkdir()
        family("layoutlm").tiny(folder, "token-classification")
    return str(folder)


# ---- settings


def _trials(bout: Bout) -> dict[str, tuple[float, Words]]:
    """Seconds and words of each setting, once each: tesseract alone, then our read path with the page segmentations."""
    tried: dict[str, tuple[float, Words]] = {}
    for trial in TRIALS:
        start = time.perf_counter()
        words = trial(bout.paths, cores())
        tried[f"tesserocr alone, {trial.name}"] = time.perf_counter() - start, words
    for psm in (3, 4, 6):
        with ReadPath(cores(), Ocr(psm=psm)) as read:
            read(bout.paths[: cores()])
            start = time.perf_counter()
            words = read(bout.paths)
            tried[f"{OURS}, ocr.psm={psm}"] = time.perf_counter() - start, words
    return tried


# ---- tables


def _speed(bout: Bout, taken: Mapping[str, float]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, seconds in taken.items():
        against = [taken[peer] / seconds for peer in (TESSERACT, PROCESSOR)]
        words = bout.quality(bout.words[name]) if name in bout.words else None
        found = (words.recall, words.precision, words.f1) if words else (None, None, None)
        rows.append((name, len(bout.images) / seconds, *against, *found))
    columns = ("contender", "pages/s", f"× {TESSERACT}", "× LayoutLMv2ImageProcessorPil", "recall", "precision", "F1")
    return Table(title="All images, start-up apart", columns=columns, rows=tuple(rows))


def _copies(many: Many, copies: int, images: int) -> Table:
    rows = (
        (TESSERACT, many.tesseract, many.pages / many.tesseract, None),
        (RUN, many.manta, many.pages / many.manta, many.manta_rate),
    )
    columns = ("contender", "start to exit, s", "pages/s", "pages/s once under way")
    return Table(title=f"{copies} copies of the {images} images, start-up included", columns=columns, rows=rows)


def _settings(bout: Bout, tried: Mapping[str, tuple[float, Words]]) -> Table:
    rows = []
    for name, (seconds, words) in tried.items():
        found = bout.quality(words)
        rows.append((name, len(bout.images) / seconds, found.recall, found.precision, found.f1))
    return Table(
        title="Settings tried, once each",
        columns=("setting", "pages/s", "recall", "precision", "F1"),
        rows=tuple(rows),
    )


def _checks(bout: Bout, taken: Mapping[str, float], many: Many) -> tuple[Check, ...]:
    ours, theirs = (bout.quality(bout.words[name]) for name in (OURS, TESSERACT))
    points = "points"
    return (
        Check(what=f"{RUN}, start-up apart, against {TESSERACT}", figure=taken[TESSERACT] / taken[RUN], mark=1.0),
        Check(what=f"{RUN}, start-up apart, against {PROCESSOR}", figure=taken[PROCESSOR] / taken[RUN], mark=1.2),
        Check(
            what=f"{RUN}, {many.pages:,} pages with start-up, against {TESSERACT}",
            figure=many.tesseract / many.manta,
            mark=0.95,
        ),
        Check(what="word recall beside tesseract's", figure=100 * (ours.recall - theirs.recall), mark=-1, unit=points),
        Check(
            what="word precision beside tesseract's",
            figure=100 * (ours.precision - theirs.precision),
            mark=-1,
            unit=points,
        ),
    )
