"""Pages: the text layer of one long born-digital PDF, against OCR of the same pages.

``manta run text`` as a person starts it. Pages a second are those of the time when all readers are at work, start-up
apart; memory and CPU are watched from outside, twice a second.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.documents import book, digest
from jobs.bench.common.machine import cores, program_version, versions
from jobs.bench.common.programs import Watched, run_manta
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.steady import Steady, steady

PAGES, QUICK_PAGES = (1_000, 64), (300, 40)
"""Pages of the PDF that are read from its text layer, and of the start of it that is OCR'd."""
AT_WORK = 0.1
"""A reader counts as at work when it used this share of a core of the whole run."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run."""

    name: str
    watched: Watched
    steady: Steady

    @property
    def readers(self) -> int:
        """Reading processes that were at work."""
        least = AT_WORK * (self.steady.end - self.steady.start)
        return sum(seconds > least for seconds in self.watched.readers.values())

    @property
    def busy(self) -> float:
        """Share of all cores, in per cent, while all readers were at work."""
        return 100 * self.watched.busy(self.steady.start, self.steady.end, cores())


def measure(ask: Ask) -> Report:
    """Speed, memory and busy cores of both ways of reading."""
    ask.refuse_data("pages")
    many, few = QUICK_PAGES if ask.quick else PAGES
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        whole, part = book(scratch / "whole.pdf", many), book(scratch / "part.pdf", few)
        layer = _run("text layer", whole, scratch / "layer", "auto")
        ocr = _run("OCR", part, scratch / "ocr", "ocr")
        inputs = digest([whole]), digest([part])
    rows = [_row(one) for one in (layer, ocr)]
    columns = (
        "words by",
        "pages/s",
        "start to exit, s",
        "readers at work",
        "cores busy, %",
        "worker's peak, GB",
        "driver's peak, GB",
    )
    return Report(
        bench="pages",
        title=f"one born-digital PDF of {many:,} pages",
        command=ask.command("pages"),
        tables=(Table(title="manta run text", columns=columns, rows=tuple(rows)),),
        checks=() if ask.quick else _checks(layer, ocr),
        notes=(
            f"{many:,} pages of about 420 words, sha256 {inputs[0]}; OCR on the first {few}, sha256 {inputs[1]}",
            f"a worker's memory counts with its reader's; a reader is at work with {AT_WORK:.0%} of a core or more",
        ),
        versions={**versions("ray", "pypdfium2", "tesserocr"), "tesseract": program_version("tesseract")},
    )


def _checks(layer: Ran, ocr: Ran) -> tuple[Check, ...]:
    speed = layer.steady.pages_per_second
    worker = max(one.watched.peaks["worker"] for one in (layer, ocr)) / 1e9
    driver = max(one.watched.peaks["driver"] for one in (layer, ocr)) / 1e9
    return (
        Check(what="text layer with word boxes", figure=speed, mark=100, unit="pages/s"),
        Check(what="text layer against OCR", figure=speed / ocr.steady.pages_per_second, mark=30),
        Check(what="readers at work on the one file", figure=layer.readers, mark=2, unit=""),
        Check(what="largest worker", figure=worker, mark=1.2, at_least=False, unit="GB"),
        Check(what="driver", figure=driver, mark=0.6, at_least=False, unit="GB"),
        Check(what="cores busy while reading the text layer", figure=layer.busy, mark=90, unit="%"),
    )


def _run(name: str, pdf: Path, output: Path, text: str) -> Ran:
    watched, record = run_manta("text", "--input", str(pdf), "--output", str(output), "--text", text)
    assert not record["errors"], record["errors"]
    ran = Ran(name=name, watched=watched, steady=steady(record, watched.began, cores()))
    tell(f"{name}: {ran.steady.pages_per_second:.1f} pages/s")
    return ran


def _row(ran: Ran) -> tuple[Cell, ...]:
    peaks = ran.watched.peaks
    return (
        ran.name,
        ran.steady.pages_per_second,
        ran.watched.seconds,
        ran.readers,
        ran.busy,
        peaks["worker"] / 1e9,
        peaks["driver"] / 1e9,
    )
