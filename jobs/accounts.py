"""Adds up the receipts of a run: pages, errors, seconds, throughput; stops a run whose machine is at fault."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from jobs.logs import ROWS
from jobs.record import RunRecord
from stages import metrics
from stages.errors import MACHINE_CODES, REMEDIES, Code, ErrorRateError

RATE_AFTER = 100
"""Pages before the error rate is looked at."""
SAMPLES = 500
"""Most points of the throughput curve; every other one is dropped when there are more."""


@dataclass(kw_only=True)
class Accounts:
    """What has come back so far. Counts go straight into the run's record."""

    record: RunRecord
    max_error_rate: float
    """Share of pages that may fail for the machine's fault."""
    started: float = field(default_factory=time.perf_counter)
    parts: set[str] = field(default_factory=set)
    """Names of the parts that this run committed."""
    _machine: int = 0
    _errors: Counter[str] = field(default_factory=Counter)
    _seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _every: int = 1
    _tables: int = 0

    def add(self, receipts: pa.Table) -> None:
        """Counts one table of receipts. Raises ErrorRateError past the limit."""
        pages, ok = self.record.pages, pc.sum(receipts["ok"]).as_py() or 0
        pages.ok += ok
        pages.failed += receipts.num_rows - ok
        labels = {"family": self.record.family, "task": self.record.task}
        metrics.record(metrics.PAGES, ok, {**labels, "state": "ok"})
        metrics.record(metrics.PAGES, receipts.num_rows - ok, {**labels, "state": "failed"})
        if "seconds:read" in receipts.column_names:  # else an earlier run read them
            readers = Counter((reader or "").split(":")[0] for reader in receipts["reader"].to_pylist())
            pages.text_layer += readers["layer"]
            pages.ocr += readers["ocr"]
        self.errors(code for code in receipts["code"].to_pylist() if code)
        if ROWS.isEnabledFor(logging.INFO):
            _tell_of_failed(receipts)
        for name in receipts.column_names:
            if name.startswith("seconds:"):
                stage, seconds = name.removeprefix("seconds:"), pc.sum(receipts[name]).as_py() or 0.0
                self._seconds[stage] += seconds
                metrics.record(metrics.STAGE_SECONDS, seconds, {**labels, "stage": stage})
        self.record.stage_seconds = {name: round(value, 3) for name, value in self._seconds.items()}
        self.parts.update(part for part in pc.unique(receipts["part"]).to_pylist() if part)
        self._sample()
        self._check_rate()

    def errors(self, codes: Iterable[str]) -> None:
        """Counts error rows by code."""
        for code in codes:
            self._errors[code] += 1
            labels = {"family": self.record.family, "task": self.record.task, "code": code}
            metrics.record(metrics.ERROR_ROWS, 1, labels)
            self._machine += Code(code) in MACHINE_CODES
        self.record.errors = dict(sorted(self._errors.items()))

    @property
    def done(self) -> int:
        """Pages and rows with an answer or an error row."""
        return self.record.pages.ok + self.record.pages.failed

    def _sample(self) -> None:
        self._tables += 1
        if self._tables % self._every:
            return
        seconds = round(time.perf_counter() - self.started, 2)
        self.record.samples.append([seconds, self.done, self.record.pages.failed])
        if len(self.record.samples) > SAMPLES:
            self.record.samples = self.record.samples[::2]
            self._every *= 2

    def _check_rate(self) -> None:
        if self.done < RATE_AFTER or self._machine <= self.max_error_rate * self.done:
            return
        worst, count = self._errors.most_common(1)[0]
        raise ErrorRateError(
            f"{self._machine} of {self.done} pages failed for reasons that lie with the machine, more than "
            f"--max-error-rate {self.max_error_rate:g}; most often {worst} ({count} ×): {REMEDIES[Code(worst)]}",
        )


def _tell_of_failed(receipts: pa.Table) -> None:
    for row in receipts.filter(pc.is_valid(receipts["code"])).select(["uri", "page", "record", "code"]).to_pylist():
        about = {"document": row["uri"], "page": row["page"], "record": row["record"], "code": row["code"]}
        ROWS.info("a row failed: %s", row["code"], extra=about)
