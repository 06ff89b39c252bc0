"""The books of one run: lease, receipts, document rows, the record and the MLflow run, kept and closed together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from jobs.accounts import Accounts
from jobs.logs import about_run
from jobs.prepare import Prepared
from jobs.record import RunRecord
from jobs.result import dataset
from jobs.tracking import Inputs, Tracking
from jobs.work import Lost
from stages import ray_data
from stages.base import failures_column
from stages.columns import schema
from stages.errors import AccountingError, Code, ErrorRateError, Failure, MantaError, RowError, StoppedError
from stages.finish import Answers, Folding, check_output, finish
from stages.lease import Holder, Lease
from stages.ledger import Ledger
from stages.sandbox import sandbox_level
from stages.storage import Storage, open_storage
from stages.write import ResultsWriter, RunStamp

ERRORS_TOLD = 10_000
"""Error rows of the table that MLflow gets; all of them are in errors/."""
METRIC_EVERY_S = 10.0
"""Seconds between two points of a metric in MLflow."""
_KEY = ("uri", "source", "doc_id", "page", "pages", "record")


@dataclass(kw_only=True)
class Books:
    """Use ``Books.open``."""

    prepared: Prepared
    storage: Storage
    lease: Lease
    tracking: Tracking
    record: RunRecord
    accounts: Accounts
    inputs: Inputs = field(default_factory=Inputs)
    _folding: Folding | None = None
    _ledger: Ledger | None = None
    _marks: float = 0.0
    _logged: float = field(default_factory=time.monotonic)

    @classmethod
    @contextmanager
    def open(cls, prepared: Prepared, started: float) -> Iterator[Books]:
        """Takes the lease and starts the MLflow run (in the background). Whatever happens inside, both end, and the
        record is written. Raises OutputBusyError and UsageError where the output is not this run's to write."""
        request = prepared.request
        storage = open_storage(request.output)
        answers = prepared.task.writes if prepared.task else ()
        check_output(storage, request.family, prepared.task_name, answers)
        record = RunRecord(
            run_id="",
            family=request.family,
            task=prepared.task_name,
            checkpoint=prepared.checkpoint.ref if prepared.checkpoint else "",
            fingerprint=prepared.fingerprint,
            read_fingerprint=prepared.read_fingerprint,
            sandbox=sandbox_level(),
            started=datetime.now(UTC).isoformat(),
            command=request.command,
            pages_uri=open_storage(request.pages).uri if request.pages else "",
            notice=prepared.notice,
        )
        name = f"{request.family} {record.task}"
        with Lease(storage, Holder.me(name)) as lease:
            books = cls(
                prepared=prepared,
                storage=storage,
                lease=lease,
                tracking=Tracking.start_async("run", output=request.output, name=name),
                record=record,
                accounts=Accounts(record=record, max_error_rate=request.max_error_rate, started=started),
                _marks=started,
            )
            try:
                yield books
            except BaseException as error:
                books._failed(error)
                raise

    @cached_property
    def stamp(self) -> RunStamp:
        """What every row is signed with; waits for the MLflow run's id."""
        request, record = self.prepared.request, self.record
        record.run_id = record.mlflow_run_id = self.tracking.run_id
        about_run(record.run_id)
        self.tracking.params(_params(self.prepared))
        return RunStamp(
            run_id=record.run_id,
            family=request.family,
            task=record.task,
            checkpoint=record.checkpoint,
            fingerprint=record.fingerprint,
            read_fingerprint=record.read_fingerprint,
            fence=self.lease.name,
        )

    def took(self, what: str) -> None:
        """Writes down how long a part of the start-up took."""
        now = time.perf_counter()
        self.record.startup_seconds[what] = round(now - self._marks, 2)
        self._marks = now

    def load_ledger(self) -> Ledger:
        """What the output holds, and the folding of what comes."""
        request, task = self.prepared.request, self.prepared.task
        pages = open_storage(request.pages) if request.pages else None
        self._ledger = Ledger.load(
            self.storage,
            fingerprint=self.stamp.fingerprint,
            read_fingerprint=self.stamp.read_fingerprint,
            records_per_page=self.prepared.records,
            retry=request.retry_codes,
            max_attempts=request.max_attempts,
            pages=pages,
        )
        combined = Answers()
        if task is not None and task.combines:
            reads = tuple(dict.fromkeys((*task.combines, "score", "page")))
            combined = Answers(columns=task.combines, reads=reads, combine=task.combine)
        self._folding = Folding(self.storage, self.stamp, self._ledger, answers=combined, pages=pages)
        return self._ledger

    def listed(self, listed: pa.Table, ledger: Ledger) -> None:
        """Takes over what has been listed so far, this table last."""
        self.inputs.add(listed)
        counts = self.record.documents
        counts.listed, counts.skipped, counts.new, counts.retried = (
            ledger.listed, ledger.skipped, ledger.new, ledger.retried,
        )  # fmt: skip
        self.record.pages.skipped = ledger.unfinished_pages

    def reused(self, pages: int) -> None:
        """Pages that need no reading."""
        self.record.pages.reused += pages

    def add(self, receipts: pa.Table) -> None:
        """Books committed rows. Raises ErrorRateError once too many fail for the machine's fault."""
        assert self._folding is not None
        if not self.accounts.done:
            self.took("first_part")
        self._folding.add(receipts)
        self._count_documents()
        try:
            self.accounts.add(receipts)
        finally:
            if time.monotonic() - self._logged > METRIC_EVERY_S:
                self._logged = time.monotonic()
                self.tracking.metrics(self._metrics())

    def failed_document(self, uri: str, source: str, error: RowError) -> None:
        """An error row for a document that the driver could not open."""
        row = Lost(uri=uri, source=source, doc_id=None, page=None, record=None)
        self._write_failures([row], error.failure("plan"))

    def lost(self, rows: Iterable[Lost]) -> None:
        """Error rows for what never came back: the worker died on it each time it was tried."""
        held: list[Lost] = []
        detail = ray_data.last_dropped()
        failure = Failure(
            stage="run",
            code=Code.CRASH,
            message="the worker died or raised each time, alone too; see the detail column and Ray's logs",
            detail=detail,
            attempts=ray_data.RETRIES + 2,
        )
        for row in rows:
            held.append(row)
            if len(held) == 1000:
                self._write_failures(held, failure)
                held = []
        if held:
            self._write_failures(held, failure)

    def _write_failures(self, rows: list[Lost], failure: Failure) -> None:
        table = pa.Table.from_pylist([{**row, "pages": None} for row in rows], schema=schema(_KEY))
        table = table.append_column("failure", failures_column([failure] * len(rows)))
        answers = self.prepared.task.writes if self.prepared.task else ()
        for receipts in ResultsWriter(self.storage, self.stamp, answers)(table):
            self.add(receipts)

    def close(self, *, complete: bool) -> None:
        """Folds documents, clears superseded rows, balances the counts, writes the record, ends the MLflow run.

        ``complete``: everything in the input was listed and driven to its end. Raises AccountingError where a listed
        document is neither done nor failed.
        """
        assert self._folding is not None
        assert self._ledger is not None
        request = self.prepared.request
        pages = open_storage(request.pages) if request.pages else None
        if complete:
            check, prune = self.lease.check, request.prune
            done = finish(self.storage, self.stamp, self._ledger, self._folding, prune=prune, pages=pages, check=check)
            self.record.documents.removed = done.pruned
        else:
            self._folding.finish()
        self._count_documents()
        self.took("closing")
        self._end("finished", 3 if self.record.errors else 0)
        if not self.record.documents.balanced:
            raise AccountingError(f"the documents do not add up: {self.record.documents}; please report this")

    def _count_documents(self) -> None:
        assert self._folding is not None
        for status in ("ok", "partial", "failed"):
            setattr(self.record.documents, status, self._folding.counts[status])

    def _failed(self, error: BaseException) -> None:
        """Ends the books of a run that did not get to its end."""
        stopped = isinstance(error, (StoppedError, ErrorRateError))
        if stopped and self._folding is not None:
            self._folding.flush()
            self._count_documents()
        code = error.exit_code if isinstance(error, MantaError) else 1
        if self.record.status == "running":
            self._end("stopped" if isinstance(error, StoppedError) else "failed", code)

    def _end(self, status: str, exit_code: int) -> None:
        record = self.record
        record.status, record.exit_code = status, exit_code
        record.seconds = round(time.perf_counter() - self.accounts.started, 2)
        record.finished = datetime.now(UTC).isoformat()
        if record.run_id:
            self.storage.put(f"runs/{record.run_id}.json", record.to_json().encode())
            self._artifacts()
        self.tracking.close(status)

    def _artifacts(self) -> None:
        """The numbers, the record and the error table into MLflow."""
        self.tracking.metrics(self._metrics(), last=True)
        if self.inputs.documents:
            self.tracking.inputs(self.prepared.request.inputs, self.inputs)
        self.tracking.artifact("record.json", self.record.to_json().encode())
        if self.record.errors:
            mine = pc.field("run_id") == self.record.run_id
            errors = dataset(self.prepared.request.output, "errors").scanner(filter=mine).head(ERRORS_TOLD)
            sink = pa.BufferOutputStream()
            csv.write_csv(errors, sink)
            self.tracking.artifact("errors.csv", sink.getvalue().to_pybytes())

    def _metrics(self) -> dict[str, float]:
        record = self.record
        return {
            "pages_ok": record.pages.ok,
            "pages_failed": record.pages.failed,
            "pages_per_second": record.pages_per_second,
            "documents_ok": record.documents.ok,
            **{f"errors/{code}": count for code, count in record.errors.items()},
            **{f"seconds/{stage}": seconds for stage, seconds in record.stage_seconds.items()},
        }


def _params(prepared: Prepared) -> dict[str, str]:
    """What a person would want to see beside the run's numbers."""
    request = prepared.request
    found = {
        "family": request.family,
        "task": prepared.task_name,
        "checkpoint": prepared.checkpoint.ref if prepared.checkpoint else "",
        "checkpoint_content": prepared.checkpoint.content if prepared.checkpoint else "",
        "fingerprint": prepared.fingerprint,
        "read_fingerprint": prepared.read_fingerprint,
        "input": " ".join(request.inputs),
        "output": request.output,
    }
    sections = {**asdict(request.settings), "task": asdict(prepared.task.options) if prepared.task else {}}
    for section, values in sections.items():
        if isinstance(values, dict):
            found |= {f"{section}.{name}": str(value) for name, value in values.items()}
        else:
            found[section] = str(values)
    return found
