"""Overhead: what a run costs beside reading and models: a run of one page, and an almost free task over many rows.

The account of a one-page run is the run record's own (``startup_seconds``). A row's share is the difference between
20,000 rows and 2,000, so that starting and ending do not count; the same rows through Predictor alone tell how much of
it is the model's, and Ray Data alone, adding one column, what the engine takes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.child import in_child
from jobs.bench.common.documents import one_page
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.programs import run_manta
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.turns import Contender, in_turn, timed

FEW, MANY = 2_000, 20_000
"""Rows, between which a row's share is taken."""
QUICK_FEW, QUICK_MANY = 500, 2_000
TEXT = "good movie, bad book"


def measure(ask: Ask) -> Report:
    """Seconds of a one-page run by what they went into, and microseconds a row."""
    ask.refuse_data("overhead")
    turns = 1 if ask.quick else 3
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        alone, seconds = _one_page(scratch, turns)
        few, many = (QUICK_FEW, QUICK_MANY) if ask.quick else (FEW, MANY)
        rows, marginal = _rows(scratch, turns, few, many)
    return Report(
        bench="overhead",
        title="what a run takes beside reading and models",
        command=ask.command("overhead"),
        tables=(alone, rows),
        checks=(
            Check(what="manta run layoutlm on one scanned page", figure=seconds, mark=20, at_least=False, unit="s"),
        )
        if not ask.quick
        else (),
        notes=(
            "one page: from the command's start to its exit, medians; the account is the record's startup_seconds",
            f"almost free: a BERT of 2 layers, 32 wide, on the text {TEXT!r}; beside the model itself a row takes "
            f"{marginal:.0f} µs",
        ),
        versions=versions("ray", "torch", "mlflow"),
    )


# ---- one page


def _one_page(scratch: Path, turns: int) -> tuple[Table, float]:
    page = one_page(scratch / "page")
    checkpoint = _tiny(scratch, "layoutlm", "token-classification")
    text = ("text", "--input", str(page), "--text", "ocr")
    model = ("layoutlm", "--task", "token-classification", "--checkpoint", checkpoint, *text[1:])
    accounts: dict[str, list[dict[str, float]]] = {"manta run text": [], "manta run layoutlm": []}
    for turn in range(turns):
        for name, arguments in zip(accounts, (text, model), strict=True):
            watched, record = run_manta(*arguments, "--output", str(scratch / f"{name}-{turn}"))
            accounts[name].append(_account(watched.seconds, record))
            tell(f"{name}, turn {turn + 1} of {turns}: {watched.seconds:.2f} s")
    parts = list(accounts["manta run layoutlm"][0])
    median = {
        name: [statistics.median(one.get(part, 0.0) for one in found) for part in parts]
        for name, found in accounts.items()
    }
    rows: list[tuple[Cell, ...]] = [(name, *seconds) for name, seconds in median.items()]
    table = Table(title="One page, in seconds", columns=("command", *parts), rows=tuple(rows))
    return table, median["manta run layoutlm"][0]


def _account(seconds: float, record: Mapping[str, object]) -> dict[str, float]:
    """Where the time went: what the record tells, and what lies outside it (the interpreter's start and exit)."""
    parts, inside = record["startup_seconds"], record["seconds"]
    assert isinstance(parts, dict)
    assert isinstance(inside, float)
    rest = inside - sum(parts.values())
    return {"in all": seconds, **parts, "rest of the run": rest, "start and exit of Python": seconds - inside}


# ---- many rows


def _rows(scratch: Path, turns: int, few: int, many: int) -> tuple[Table, float]:
    tables = {count: _table(scratch / f"{count}.parquet", count) for count in (few, many)}
    checkpoint = _tiny(scratch, "bert", "text-classification")
    works: dict[str, Callable[[int, int], object]] = {
        "manta run bert": lambda count, turn: _manta(tables[count], checkpoint, scratch / f"out-{count}-{turn}"),
        "Predictor alone": lambda count, _turn: in_child("jobs.bench.overhead:predict", checkpoint, count, cores()),
        "Ray Data alone, adding a column": lambda count, turn: in_child(
            "jobs.bench.common.peers:ray_data", str(tables[count]), str(scratch / f"ray-{count}-{turn}")
        ),
    }
    taken = in_turn(
        [
            Contender(name=f"{name}, {count:,} rows", seconds=_numbered(work, count), turns=turns)
            for count in (few, many)
            for name, work in works.items()
        ]
    )
    share = {
        name: (taken[f"{name}, {many:,} rows"] - taken[f"{name}, {few:,} rows"]) / (many - few) * 1e6 for name in works
    }
    rows = tuple((name, taken[f"{name}, {few:,} rows"], taken[f"{name}, {many:,} rows"], share[name]) for name in works)
    columns = ("what", f"{few:,} rows, s", f"{many:,} rows, s", "µs/row between")
    return Table(title="Many tiny rows", columns=columns, rows=rows), share["manta run bert"] - share["Predictor alone"]


def _numbered(work: Callable[[int, int], object], count: int) -> Callable[[], float]:
    """``work`` timed, told which turn it is, so that each turn has an output of its own."""
    turn = iter(range(1_000))
    return timed(lambda: work(count, next(turn)))


def _manta(table: Path, checkpoint: str, output: Path) -> None:
    arguments = ("bert", "--task", "text-classification", "--checkpoint", checkpoint)
    _, record = run_manta(*arguments, "--input", str(table), "--output", str(output))
    assert record["errors"] == {}, record["errors"]


def predict(checkpoint: str, count: int, threads: int) -> dict[str, float]:
    """Predictor over ``count`` rows, as ``manta run`` calls it. For a process of its own."""
    from jobs.bench.predict import CALL_ROWS
    from pipelines.checkpoint import resolve
    from pipelines.tasks.text_classification import TextClassification
    from stages.predictor import Predictor
    from stages.settings import Predict

    predictor = Predictor(TextClassification(resolve(checkpoint)), Predict(), threads=threads).open()
    for start in range(0, count, CALL_ROWS):
        predictor.predict([{"text": TEXT} for _ in range(start, min(count, start + CALL_ROWS))])
    return {}


def _table(file: Path, count: int) -> Path:
    pq.write_table(pa.table({"text": pa.repeat(TEXT, count)}), file)
    return file


def _tiny(scratch: Path, family: str, task: str) -> str:
    from pipelines import family as find

    folder = scratch / f"{family}-{task}"
    folder.mkdir()
    find(family).tiny(folder, task)
    return str(folder)
