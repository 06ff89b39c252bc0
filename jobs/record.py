"""The run record: what ``runs/<run_id>.json`` holds and ``--json`` prints."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(kw_only=True)
class DocumentCounts:
    """Documents of one run; ``listed = ok + partial + failed + skipped``, always."""

    listed: int = 0
    new: int = 0
    """Of the listed: nothing of them, as they are now, was done before."""
    retried: int = 0
    """Of the listed: something of them failed before and was tried again."""
    ok: int = 0
    partial: int = 0
    failed: int = 0
    skipped: int = 0
    """Complete from an earlier run."""
    removed: int = 0
    """Dropped from the output by ``--prune``, or no longer listed."""

    @property
    def balanced(self) -> bool:
        """Whether every listed document is accounted for."""
        return self.listed == self.ok + self.partial + self.failed + self.skipped


@dataclass(kw_only=True)
class PageCounts:
    """Pages (or table rows) of one run."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Of unfinished documents, done by an earlier run."""
    text_layer: int = 0
    ocr: int = 0
    reused: int = 0
    """Read by an earlier run, taken from pages/."""


@dataclass(kw_only=True)
class RunRecord:
    """One run from start to end. Seconds are wall clock, but for ``stage_seconds``, summed over processes."""

    run_id: str
    family: str
    task: str
    checkpoint: str = ""
    fingerprint: str = ""
    read_fingerprint: str = ""
    status: str = "running"
    """running, finished, stopped (a signal), failed."""
    exit_code: int = 0
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    pages: PageCounts = field(default_factory=PageCounts)
    errors: dict[str, int] = field(default_factory=dict)
    """Error rows of this run by code."""
    seconds: float = 0.0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    startup_seconds: dict[str, float] = field(default_factory=dict)
    """Where the time before the first committed page went."""
    samples: list[list[float]] = field(default_factory=list)
    """``[seconds since start, pages done, error rows]``, at most about 500 points."""
    sandbox: str = ""
    """What the kernel allowed for native code."""
    cost_per_1000_pages: float | None = None
    """``cost.per_hour`` of the machines times hours a thousand pages; null where no price is set."""
    mlflow_run_id: str = ""
    started: str = ""
    finished: str = ""
    command: str = ""
    """The command line that starts this run again, quoted for a shell."""
    pages_uri: str = ""
    """Where ``--pages`` keeps pages/; empty where the output holds it."""
    notice: str = ""
    """What the family says when it is chosen, such as a licence that forbids commercial use."""

    @property
    def pages_per_second(self) -> float:
        """Pages done a second since the first part was committed; where that came late, since the work began.

        Parts of all processes may come within a moment of each other: a run that is over in another moment has no
        speed of its own from then on.
        """
        if len(self.samples) > 1:
            seconds, pages = (self.samples[-1][i] - self.samples[0][i] for i in (0, 1))
            until_first = self.startup_seconds.get("first_part", 0.0)
            if seconds > until_first and pages > 0:
                return pages / seconds
            if seconds + until_first > 0:
                return self.samples[-1][1] / (seconds + until_first)
        return (self.pages.ok + self.pages.failed) / self.seconds if self.seconds else 0.0

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps({**asdict(self), "pages_per_second": round(self.pages_per_second, 3)}, indent=2)
