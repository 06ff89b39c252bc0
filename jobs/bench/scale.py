"""Scale: whether a run stays as fast, and its driver as small, with ten and a hundred times as many pages.

OCR is played by a reader that sleeps (jobs/bench/common/slow_reader.py), so that the run itself is what is measured:
listing, planning, spreading, the sandbox, writing, receipts, folding. The marginal speed between two sizes leaves out
what every run takes to start and to end.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.programs import watch
from jobs.bench.common.report import Check, Report, Table
from jobs.bench.common.slow_reader import TARGETS

FOLDER_FILES = 200
"""Files of one input folder."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is run."""

    pages: tuple[int, int, int]
    milliseconds: int
    """Of pretended OCR a page."""


KINDS = ("driver", "worker", "ray")
CPU = tuple(f"{kind}, CPU ms/page" for kind in KINDS)
FULL = Sizes(pages=(200, 2_000, 20_000), milliseconds=50)
QUICK = Sizes(pages=(200, 1_000, 4_000), milliseconds=10)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run."""

    pages: int
    seconds: float
    driver: int
    """Peak bytes."""
    worker: int
    """Peak bytes."""
    cpu: dict[str, float]
    """CPU seconds by kind of process."""


def measure(ask: Ask) -> Report:
    """Three runs of growing size."""
    ask.refuse_data("scale")
    sizes = QUICK if ask.quick else FULL
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as scratch:
        folders = _files(Path(scratch) / "files", max(sizes.pages))
        runs = [_run(Path(scratch), folders, pages, sizes.milliseconds) for pages in sizes.pages]
    marginal = [
        (after.pages - before.pages) / (after.seconds - before.seconds) for before, after in itertools.pairwise(runs)
    ]
    rows = tuple(
        (run.pages, run.seconds, speed, run.driver / 1e9, run.worker / 1e9, *_cpu(run))
        for run, speed in zip(runs, [None, *marginal], strict=True)
    )
    small, middle, large = sizes.pages
    columns = (
        "pages",
        "seconds",
        "pages/s since the row above",
        "driver's peak, GB",
        "largest worker's peak, GB",
        *CPU,
    )
    return Report(
        bench="scale",
        title=f"one-page files, OCR played by a pause of {sizes.milliseconds} ms",
        command=ask.command("scale"),
        tables=(Table(title="manta run text", columns=columns, rows=rows),),
        checks=(
            Check(
                what=f"pages/s between {middle:,} and {large:,} pages against that between {small:,} and {middle:,}",
                figure=marginal[1] / marginal[0],
                mark=0.95,
            ),
            Check(
                what=f"driver's peak memory at {large:,} pages against {middle:,}",
                figure=runs[2].driver / runs[1].driver,
                mark=1.2,
                at_least=False,
            ),
        ),
        notes=(
            f"{cores()} readers could do {1000 * cores() / sizes.milliseconds:.0f} pages/s if a run cost nothing",
            "each run is a process of its own with its own Ray; its seconds are from start to exit",
        ),
        versions=versions("ray"),
    )


def _cpu(run: Ran) -> list[float]:
    """Milliseconds of CPU a page by kind of process."""
    return [1000 * run.cpu.get(kind, 0.0) / run.pages for kind in KINDS]


def _files(folder: Path, count: int) -> list[Path]:
    """Files of one page, each with its own content, ``FOLDER_FILES`` a folder."""
    folders = [folder / f"{number:04d}" for number in range(count // FOLDER_FILES)]
    for number, one in enumerate(folders):
        one.mkdir(parents=True)
        for file in range(FOLDER_FILES):
            (one / f"page-{file:03d}.pdf").write_text(f"page {number * FOLDER_FILES + file}")
    return folders


def _run(scratch: Path, folders: list[Path], pages: int, milliseconds: int) -> Ran:
    inputs = [str(folder) for folder in folders[: pages // FOLDER_FILES]]
    output, target = str(scratch / f"output-{pages}"), TARGETS[milliseconds]
    command = [sys.executable, "-m", "jobs.bench.common.slow_reader", output, target, *inputs]
    watched = watch(command)
    record = json.loads(watched.out)
    assert record["pages"]["ok"] == pages, record["pages"]
    tell(f"{pages:,} pages: {watched.seconds:.1f} s")
    return Ran(
        pages=pages,
        seconds=watched.seconds,
        driver=watched.peaks["driver"],
        worker=watched.peaks.get("worker", 0),
        cpu=watched.cpu,
    )
