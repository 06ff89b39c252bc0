"""What a training did: ``OUTPUT/train.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from jobs.tracking_registry import Registration

RECORD = "train.json"
CURVE = "curve.jsonl"
"""The curve beside it, a point a line."""


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """What a training did."""

    family: str
    task: str
    checkpoint: str
    """What it started from."""
    model: str
    """The folder of the trained checkpoint."""
    rows: int
    """Training rows."""
    left_out: int
    """Rows that could not be encoded."""
    workers: int
    steps: int
    loss: float
    """Mean training loss over all steps."""
    metrics: Mapping[str, float]
    """Of the kept model on the evaluation rows."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall clock of each part; of a training that went on, since then."""
    mlflow_run_id: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)
    """What decided the result."""
    data_digest: str = ""
    """Of the training rows' content."""
    eval_digest: str = ""
    """Of the evaluation rows' content; empty without any."""
    registered: Registration | None = None
    """Name and version, and what the champion was compared with."""
    pushed: str = ""
    """The Hub's commit."""

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: bytes) -> TrainRecord:
        """The record that ``to_json`` wrote."""
        told = json.loads(text)
        registered = told.pop("registered", None)
        return cls(**told, registered=Registration(**registered) if registered else None)
