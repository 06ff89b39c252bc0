"""``manta demo``: the whole of Manta on invoices of its own making, in minutes on two cores.

Makes a corpus, trains a small LayoutLM on other invoices, runs it over the corpus, scores what it found beside regular
expressions, and writes the report. Layouts and names of the corpus are such as training never saw (jobs/invoices).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import baseline
from jobs.extras import need
from jobs.invoices.blocks import LABELS
from jobs.invoices.corpus import Document
from jobs.scoring import DEFINITION, Entity, Score, score
from stages.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.result import Result
    from jobs.train import TrainRecord

Say = Callable[[str], None]
"""Where lines for a person go."""

FAMILY, TASK = "layoutlm", "token-classification"
RECORD = "demo.json"
"""Marks a folder as a demo's; what was found, for a program."""
_FLOOR, _AHEAD = 0.90, 0.2
"""Entity F1 on scans that the demo must reach, and by how much it must beat the patterns."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is made and learned."""

    training_pages: int = 5400
    epochs: float = 2.0
    scans: int = 32
    digital: int = 8
    seed: int = 2026
    """Of the test documents; training has its own."""


@dataclass(frozen=True, kw_only=True)
class DemoRecord:
    """What the demo found; ``OUTPUT/demo.json``."""

    f1_scans: float
    f1_digital: float
    f1_patterns: float
    """Of the regular expressions, on the scans."""
    errors: Mapping[str, str]
    """File name to code of what could not be read."""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the demo shows what it promises."""
        wanted = {"broken.pdf": "corrupt", "locked.pdf": "password_required"}
        ahead = self.f1_scans - self.f1_patterns
        return self.f1_scans >= _FLOOR and ahead >= _AHEAD and dict(self.errors) == wanted


def demo(output: Path, *, size: Size | None = None, say: Say = print) -> int:
    """Runs the demo into ``output`` and tells how it goes; 0 when it shows what it promises, else 1.

    Raises UsageError where ``output`` holds something else than an earlier demo.
    """
    size = size or Size()
    need("the demo", ("reportlab", "pikepdf", "accelerate"), "demo,train")
    folder = _emptied(output)
    steps = _Steps(say=say)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    say(f"Everything goes into {folder}. About five minutes on two cores.")
    with steps.step("starting Ray"):
        from jobs.cluster import connect

        connect(None)
    with steps.step(f"making {size.training_pages} training pages and {size.scans + size.digital + 2} documents"):
        documents = _make(folder, size)
    with steps.step("training a small LayoutLM from nothing"):
        trained = _train(folder, size, say)
    with steps.step(f"manta run {FAMILY} --task {TASK}"):
        result = _run(folder, trained)
    with steps.step("scoring, and writing the report"):
        report = _report(result.output)
        record = _judge(documents, result, steps, say)
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    _last_words(say, record, report, folder, sum(steps.seconds.values()))
    return 0 if record.holds else 1


@dataclass(kw_only=True)
class _Steps:
    """Tells each step and how long it took."""

    say: Say
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.say(f"\n{len(self.seconds) + 1}. {what}")
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 1)
        self.say(f"   {self.seconds[what]:.1f} s")


def _emptied(output: Path) -> Path:
    """The folder, without what an earlier demo left. Raises UsageError where something else is in it."""
    folder = output.resolve()
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / RECORD).is_file():
            raise UsageError(f"{output} holds something that is no earlier demo: name another folder with --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text("{}", encoding="utf-8")
    return folder


# ---- the corpus


def _make(folder: Path, size: Size) -> list[Document]:
    """Training table, untrained checkpoint and test documents; pages are shared out over the cluster's CPUs."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray

    from jobs.invoices.corpus import texts, write_unreadable
    from jobs.invoices.start import write_start

    place = folder / "documents"
    place.mkdir()
    remote_rows, remote_document = ray.remote(num_cpus=1)(_rows), ray.remote(num_cpus=1)(_document)
    share = 500
    rows = [remote_rows.remote(at, min(share, size.training_pages - at)) for at in range(0, size.training_pages, share)]
    files = [
        remote_document.remote(str(place), size.seed, at, at < size.scans) for at in range(size.scans + size.digital)
    ]
    table = pa.concat_tables(ray.get(rows))
    pq.write_table(table, folder / "training.parquet")
    write_start(folder / "start", texts(table))
    documents: list[Document] = [*ray.get(files), *write_unreadable(place, size.seed)]
    said = [asdict(document) for document in documents]
    (folder / "answers.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    return documents


def _rows(first: int, count: int) -> pa.Table:
    from jobs.invoices.corpus import training_rows

    return training_rows(1, first, count)


def _document(folder: str, seed: int, at: int, scanned: bool) -> Document:
    from jobs.invoices.corpus import write_document

    return write_document(Path(folder), seed, at, scanned=scanned)


# ---- training and running


def _train(folder: Path, size: Size, say: Say) -> TrainRecord:
    from jobs.train import train
    from jobs.training.settings import Train

    return train(
        FAMILY,
        TASK,
        str(folder / "training.parquet"),
        str(folder / "training"),
        checkpoint=str(folder / "start"),
        settings=Train(epochs=size.epochs, learning_rate=1.2e-3, token_budget=800),
        say=lambda line: say(f"   {line}"),
    )


def _run(folder: Path, trained: TrainRecord) -> Result:
    from jobs.run import run

    return run(FAMILY, TASK, [str(folder / "documents")], str(folder / "run"), checkpoint=trained.model)


def _report(output: str) -> str:
    from jobs.view import view

    return view(output)


# ---- what came of it


def _judge(documents: Sequence[Document], result: Result, steps: _Steps, say: Say) -> DemoRecord:
    rows = result.rows.to_table(columns=["uri", "entities"]).to_pylist()
    ours = {_name(row["uri"]): [(each["label"], each["text"]) for each in row["entities"]] for row in rows}
    pages = result.pages.to_table(columns=["uri", "text"]).to_pylist()
    patterns = {_name(row["uri"]): baseline.find_entities(row["text"]) for row in pages}
    errors = {_name(row["uri"]): row["code"] for row in result.errors.to_table(columns=["uri", "code"]).to_pylist()}

    scans, digital = (_said(documents, kind) for kind in ("scan", "digital"))
    on_scans, by_patterns = score(scans, ours, LABELS), score(scans, patterns, LABELS)
    on_digital = score(digital, ours, LABELS)
    for line in _table(on_scans, by_patterns, on_digital):
        say(f"   {line}")
    for kind in sorted({document.layout for document in documents if document.layout}):
        some = {d.name: d.entities for d in documents if d.layout == kind and d.kind == "scan"}
        say(f"   scans laid out as {kind:<11} F1 {score(some, ours, LABELS)[''].f1:.3f}")
    say(f"   {DEFINITION}")
    return DemoRecord(
        f1_scans=round(on_scans[""].f1, 4),
        f1_digital=round(on_digital[""].f1, 4),
        f1_patterns=round(by_patterns[""].f1, 4),
        errors=errors,
        seconds=steps.seconds,
    )


def _said(documents: Sequence[Document], kind: str) -> dict[str, tuple[Entity, ...]]:
    return {document.name: document.entities for document in documents if document.kind == kind}


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _table(scans: Mapping[str, Score], patterns: Mapping[str, Score], digital: Mapping[str, Score]) -> list[str]:
    """Entity F1 by label, model and patterns beside each other."""
    lines = [f"{'entity F1':<16}{'scans':>8}{'patterns on scans':>20}{'born digital':>15}"]
    for label in (*LABELS, ""):
        f1 = [each[label].f1 for each in (scans, patterns, digital)]
        lines.append(f"{label or 'all':<16}{f1[0]:>8.3f}{f1[1]:>20.3f}{f1[2]:>15.3f}")
    return lines


def _last_words(say: Say, record: DemoRecord, report: str, folder: Path, seconds: float) -> None:
    from stages.errors import REMEDIES, Code

    say(f"\nEntity F1 {record.f1_scans:.3f} on scans of layouts and names that training never saw;")
    say(f"regular expressions find {record.f1_patterns:.3f} in the same text. {seconds:.0f} s in all.")
    say("\nWhat could not be read is in the error table:")
    for name, code in sorted(record.errors.items()):
        say(f"   {name}  {code}: {REMEDIES[Code(code)]}")
    if not record.holds:
        say(f"\nThis is not what the demo promises (F1 {_FLOOR} and {_AHEAD} ahead; broken.pdf, locked.pdf refused).")
    say(f"\nOpen next:\n   {report}   the report: pages with what was found drawn in")
    say(f"   {folder / 'run' / 'results'}   the rows: pandas.read_parquet opens them")
    say(
        "   manta run layoutlm --task token-classification --input YOUR_DOCUMENTS --output OUT "
        f"--checkpoint {folder / 'training' / 'model'}"
    )
    say(f"   mlflow ui --backend-store-uri sqlite:///{folder / 'training' / 'mlflow' / 'mlflow.db'}   the curve")
