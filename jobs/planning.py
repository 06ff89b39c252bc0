"""``manta run … --plan``: what a run would do. Lists and compares; loads no model and opens no document."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.prepare import Prepared, Request, prepare
from jobs.result import dataset
from stages.finish import check_output
from stages.ledger import Ledger
from stages.listing import listing
from stages.storage import Storage, open_storage

BYTES_A_PAGE = 60_000
"""Of a PDF, where the output has no pages yet to tell (median of the public corpora that we looked at)."""


@dataclass(kw_only=True)
class PlanReport:
    """What a run would do now."""

    listed: int = 0
    skipped: int = 0
    """Documents that are complete."""
    new: int = 0
    """Documents of which nothing is done."""
    unfinished: int = 0
    """Documents that an earlier run began."""
    to_retry: int = 0
    """Error rows that ``--retry`` would try again."""
    reused_pages: int = 0
    """Pages that are read and only need the model."""
    pages: int = 0
    """Pages or rows to read, about: those of PDFs are estimated from their size."""
    bytes: int = 0
    """Listed size of what would be read."""
    minutes: float | None = None
    """At the last run's pace; None where there is none to go by."""

    def to_json(self) -> str:
        """As indented JSON."""
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        pace = "no earlier run tells the pace" if self.minutes is None else f"about {self.minutes:.1f} minutes"
        return (
            f"{self.listed} documents listed: {self.new} new, {self.unfinished} unfinished, {self.skipped} done; "
            f"{self.to_retry} error rows to retry; about {self.pages} pages to read ({self.bytes / 1e6:.1f} MB), "
            f"{self.reused_pages} read already; {pace}"
        )


def plan(request: Request) -> PlanReport:
    """Raises UsageError for what ``run`` would refuse."""
    prepared = prepare(request)
    prepared.rehearsal.wait()
    storage = open_storage(request.output)
    check_output(storage, request.family, prepared.task_name, prepared.task.writes if prepared.task else ())
    ledger = Ledger.load(
        storage,
        fingerprint=prepared.fingerprint,
        read_fingerprint=prepared.read_fingerprint,
        records_per_page=prepared.records,
        retry=request.retry_codes,
        max_attempts=request.max_attempts,
        pages=open_storage(request.pages) if request.pages else None,
    )
    report = PlanReport(to_retry=_to_retry(prepared))
    for listed in listing(request.inputs, exclude=(request.output, request.pages_uri)):
        _count(report, ledger.todo(listed))
    report.listed, report.skipped = ledger.listed, ledger.skipped
    report.reused_pages = sum(len(rows) for part in ledger.reusable() for rows in part["rows"].to_pylist())
    pace = _pace(storage)
    report.minutes = (report.pages + report.reused_pages) / pace / 60 if pace else None
    return report


def _count(report: PlanReport, todo: pa.Table) -> None:
    begun = pc.greater(pc.list_value_length(todo["done"]), 0)
    unfinished = pc.sum(begun).as_py() or 0
    report.unfinished += unfinished
    report.new += todo.num_rows - unfinished
    report.bytes += pc.sum(todo["size"]).as_py() or 0
    for kind, size, done in zip(*(todo[name].to_pylist() for name in ("kind", "size", "done")), strict=True):
        pages = 1 if kind != "pdf" else max(1, round((size or 0) / BYTES_A_PAGE))
        report.pages += max(1, pages - len(done or ()))


def _to_retry(prepared: Prepared) -> int:
    retry = sorted(prepared.request.retry_codes)
    if not retry:
        return 0
    errors = dataset(prepared.request.output, "errors").to_table(columns=["code", "fingerprint", "attempts"])
    again = pc.is_in(errors["code"], pa.array(retry, pa.string()))
    if prepared.request.max_attempts:
        again = pc.and_(again, pc.less(errors["attempts"], prepared.request.max_attempts))
    return int(pc.sum(pc.and_(again, pc.equal(errors["fingerprint"], prepared.fingerprint))).as_py() or 0)


def _pace(storage: Storage) -> float:
    """Pages a second of the last run that did some; 0 where there is none."""
    records = [json.loads(storage.read(one.name)) for one in storage.list("runs/") if one.name.endswith(".json")]
    paces = [(one.get("started", ""), one.get("pages_per_second", 0.0)) for one in records]
    return max(((started, pace) for started, pace in paces if pace), default=("", 0.0))[1]
