"""What a bench is asked, and what makes a module a bench."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs.bench.common.report import Report
from stages.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a person asked for."""

    data: Path | None = None
    """Folder of real inputs; None makes them."""
    quick: bool = False
    """Small sizes, to see that the bench works."""

    def command(self, name: str) -> str:
        """The command that measures this again; of the folder only its name, which is nobody else's business."""
        data = f" --data {self.data.name}" if self.data else ""
        return f"manta bench {name}{data}{' --quick' if self.quick else ''}"

    def refuse_data(self, name: str) -> None:
        """Raises UsageError where a folder was named for a bench that makes all its inputs."""
        if self.data is not None:
            raise UsageError(f"bench {name} makes its own inputs: leave out --data")


class Bench(Protocol):
    """A module of ``jobs/bench``."""

    def measure(self, ask: Ask) -> Report:
        """Measures ours and the peers and reports. Raises UsageError where something that it needs is missing."""


def tell(text: str) -> None:
    """A line of progress, on standard error, unless ``--quiet`` has silenced all but errors."""
    if logging.getLogger().isEnabledFor(logging.WARNING):
        sys.stderr.write(f"bench: {text}\n")
        sys.stderr.flush()
