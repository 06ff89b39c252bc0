"""Resume: planning around millions of finished one-page files, after a run that ended well and after a killed one.

The output is made, not run for (jobs/bench/common/finished.py); planning is what ``manta run`` does before it starts
work: the ledger is loaded, every listed file is looked up and goes into the digest of the inputs. Each measurement is a
process of its own. How long the storage takes to list the files is measured beside it, on real empty files.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.child import Told, in_child
from jobs.bench.common.machine import versions
from jobs.bench.common.report import Check, Report, Table

FILES, QUICK_FILES = 5_000_000, 100_000
"""Finished files."""
REAL_FILES, QUICK_REAL_FILES = 20_000, 2_000
"""Empty files on disk, to time the listing."""
NEW = 1_000
"""Files that are listed and not done: the plan must find exactly these."""


def measure(ask: Ask) -> Report:
    """Seconds and memory of planning, by what the run before left."""
    ask.refuse_data("resume")
    files, real = (QUICK_FILES, QUICK_REAL_FILES) if ask.quick else (FILES, REAL_FILES)
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as scratch:
        listing = _listing_seconds(Path(scratch) / "files", real) / real * files
        tell(f"listing: {listing:.1f} s for {files:,} files at the pace of {real:,} real ones")
        output = str(Path(scratch) / "output")
        parts = in_child("jobs.bench.resume:make", output, files).answer["parts"]
        tell(f"output of {files:,} files in {parts:.0f} parts")
        killed = _planned(output, files, "after a killed run")
        closing = in_child("jobs.bench.resume:close", output, files)
        tell(f"closing: {closing.answer['closing']:.1f} s, {closing.peak_bytes / 1e9:.2f} GB")
        ended = _planned(output, files, "after a run that ended well")
    rows = (
        _row("planning after a run that ended well", ended),
        _row("planning after a killed run", killed),
        ("closing the books of a run", None, None, closing.answer["closing"], closing.peak_bytes / 1e9),
    )
    columns = ("what", "ledger, s", "looking up, s", "in all, s", "peak memory, GB")
    return Report(
        bench="resume",
        title=f"planning around {files:,} finished one-page files",
        command=ask.command("resume"),
        tables=(Table(title=f"{files:,} files done, {NEW:,} new", columns=columns, rows=rows),),
        checks=() if ask.quick else _checks(ended, killed, listing),
        notes=(
            f"the output has {parts:,.0f} parts in pages/, results/ and documents/; each row is a process of its own, "
            "its memory with Python and Arrow",
            f"listing {real:,} real empty files here took a time that makes {listing:.1f} s for {files:,}: in the "
            "marks, but not in the table, since it is the storage's",
            f"each plan found the {NEW:,} new files and no other",
        ),
        versions=versions("pyarrow", "numpy", "pandas"),
    )


def _checks(ended: Told, killed: Told, listing: float) -> tuple[Check, ...]:
    checks = []
    for what, told in (("a run that ended well", ended), ("a killed run", killed)):
        seconds, memory = listing + _total(told), told.peak_bytes / 1e9
        checks += [
            Check(what=f"planning after {what}, with listing", figure=seconds, mark=30, at_least=False, unit="s"),
            Check(what=f"memory of planning after {what}", figure=memory, mark=0.4, at_least=False, unit="GB"),
        ]
    return tuple(checks)


def _total(told: Told) -> float:
    return told.answer["ledger"] + told.answer["looking_up"]


def _row(what: str, told: Told) -> tuple[str, float, float, float, float]:
    return what, told.answer["ledger"], told.answer["looking_up"], _total(told), told.peak_bytes / 1e9


def _planned(output: str, files: int, what: str) -> Told:
    told = in_child("jobs.bench.resume:plan", output, files)
    assert told.answer["todo"] == NEW, f"{told.answer['todo']} files to do, not {NEW}"
    tell(f"planning {what}: {_total(told):.1f} s, {told.peak_bytes / 1e9:.2f} GB")
    return told


def _listing_seconds(folder: Path, count: int) -> float:
    """How long the listing of ``count`` real files takes, a thousand a folder."""
    from stages.listing import listing

    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:06d}").mkdir(parents=True)
        (folder / f"{number // 1000:06d}" / f"document-{number:08d}.pdf").touch()
    for _ in range(2):  # the first loads what listing needs
        start = time.perf_counter()
        found = sum(table.num_rows for table in listing([str(folder)]))
        seconds = time.perf_counter() - start
        assert found == count
    return seconds


# ---- what the child processes do


def make(output: str, files: int) -> dict[str, float]:
    """Writes the output."""
    from jobs.bench.common.finished import write_output

    return {"parts": write_output(Path(output), files)}


def plan(output: str, files: int) -> dict[str, float]:
    """Plans as ``manta run`` does; making up the listing is not counted."""
    from jobs.bench.common.finished import STAMP, listed
    from jobs.tracking import Inputs
    from stages.ledger import Ledger
    from stages.storage import open_storage

    start = time.perf_counter()
    ledger = Ledger.load(
        open_storage(output),
        fingerprint=STAMP.fingerprint,
        read_fingerprint=STAMP.read_fingerprint,
        records_per_page=1,
    )
    loaded = time.perf_counter() - start
    looking_up, todo, inputs = 0.0, 0, Inputs()
    for table in listed(files + NEW):
        start = time.perf_counter()
        todo += ledger.todo(table).num_rows
        inputs.add(table)
        looking_up += time.perf_counter() - start
    return {"ledger": loaded, "looking_up": looking_up, "todo": todo}


def close(output: str, files: int) -> dict[str, float]:
    """Ends a run over the same files that found nothing to do, as ``manta run`` ends: notes what is in order."""
    from jobs.bench.common.finished import STAMP, listed
    from stages.finish import Folding, finish
    from stages.fold import Answers
    from stages.ledger import Ledger
    from stages.storage import open_storage

    storage = open_storage(output)
    ledger = Ledger.load(
        storage, fingerprint=STAMP.fingerprint, read_fingerprint=STAMP.read_fingerprint, records_per_page=1
    )
    for table in listed(files):
        ledger.todo(table)
    folding = Folding(storage, STAMP, ledger, answers=Answers())
    start = time.perf_counter()
    finish(storage, STAMP, ledger, folding)
    return {"closing": time.perf_counter() - start}
