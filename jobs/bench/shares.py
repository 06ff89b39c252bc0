"""Shares: how the CPUs are best divided between reading and the model, ``manta run layoutlm`` over images.

Each division is the same command with other numbers in place of those of jobs/pools.py. Speed is that from the first
committed part to the last, so that starting up does not count.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from jobs import pools
from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.documents import annotated, digest, write_scans
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.programs import watch
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.steady import steady

FULL, QUICK = 67, 36
"""Generated images."""
OURS = (pools.PLAN_CPU, pools.READ_CPU, pools.PREDICT_CPU)
TRIED = (OURS, (0.02, 0.64, 0.30), (0.02, 0.47, 0.47), (0.02, 0.40, 0.10))
"""(planning, reading, predicting): CPUs that a process of each asks for."""
_START = """\
import json, sys
from jobs import pools
pools.PLAN_CPU, pools.READ_CPU, pools.PREDICT_CPU = json.loads(sys.argv.pop(1))
from jobs.cli import program
program()
"""


def measure(ask: Ask) -> Report:
    """Pages a second and busy cores of each division, in turn."""
    turns = 1 if ask.quick else 3
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        count = QUICK if ask.quick else FULL
        images = annotated(ask.data) if ask.data else annotated(write_scans(scratch / "scans", count))
        inputs = scratch / "inputs"
        inputs.mkdir()
        for number, one in enumerate(images):
            shutil.copyfile(one.path, inputs / f"{number:04d}{one.path.suffix}")
        sha256 = digest([one.path for one in images])
        checkpoint = _tiny(scratch)
        ran: dict[tuple[float, ...], list[tuple[float, float]]] = {shares: [] for shares in TRIED}
        for turn in range(turns):
            for shares, found in ran.items():
                found.append(_run(shares, inputs, checkpoint, Path(tempfile.mkdtemp(dir=scratch))))
                tell(f"{shares}, turn {turn + 1} of {turns}: {found[-1][0]:.2f} pages/s")
    speed = {shares: statistics.median(one[0] for one in found) for shares, found in ran.items()}
    rows: list[tuple[Cell, ...]] = [
        (*shares, speed[shares], 100 * statistics.median(one[1] for one in found)) for shares, found in ran.items()
    ]
    best = max(figure for shares, figure in speed.items() if shares != OURS)
    return Report(
        bench="shares",
        title=f"CPU shares of a run over {len(images)} images",
        command=ask.command("shares"),
        tables=(
            Table(
                title="manta run layoutlm, a tiny checkpoint",
                columns=("planning", "reading", "predicting", "pages/s", "cores busy, %"),
                rows=tuple(rows),
            ),
        ),
        checks=()
        if ask.quick
        else (Check(what="ours against the best of the others", figure=speed[OURS] / best, mark=1.0),),
        notes=(f"{len(images)} images, sha256 {sha256}; the first row is what jobs/pools.py has; {turns} turns each",),
        versions=versions("ray", "tesserocr"),
    )


def _run(shares: tuple[float, ...], inputs: Path, checkpoint: str, output: Path) -> tuple[float, float]:
    """(pages a second, share of all cores that was busy) once under way."""
    options = ("--task", "token-classification", "--checkpoint", checkpoint, "--input", str(inputs))
    program = [sys.executable, "-c", _START, json.dumps(shares)]
    watched = watch([*program, "run", "layoutlm", *options, "--output", str(output), "--json", "--quiet"])
    record = json.loads(watched.out)
    assert not record["errors"], record["errors"]
    under_way = steady(record, watched.began)
    return under_way.pages_per_second, watched.busy(under_way.start, under_way.end, cores())


def _tiny(scratch: Path) -> str:
    from pipelines import family

    folder = scratch / "checkpoint"
    folder.mkdir()
    family("layoutlm").tiny(folder, "token-classification")
    return str(folder)
