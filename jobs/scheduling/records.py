"""The run records of an output as a schedule needs them: when the last run began, and which are old enough to go."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from stages.storage import Storage

FOLDER = "runs/"


def last_started(storage: Storage) -> datetime | None:
    """When the newest run began; None where there was none. A run that was killed left no record."""
    return max((started for started, _ in _records(storage)), default=None)


def drop_old(storage: Storage, keep: int) -> int:
    """Deletes all records but the ``keep`` newest (0 keeps all); returns how many went."""
    found = sorted(_records(storage), reverse=True)
    old = found[keep:] if keep else []
    for _, name in old:
        storage.delete(name)
    return len(old)


def _records(storage: Storage) -> list[tuple[datetime, str]]:
    found = []
    for entry in storage.list(FOLDER):
        if entry.name.endswith(".json"):
            started = _started(storage.read(entry.name))
            if started is not None:  # what is no record of ours stays
                found.append((started, entry.name))
    return found


def _started(data: bytes) -> datetime | None:
    try:
        moment = datetime.fromisoformat(json.loads(data)["started"])
    except (ValueError, KeyError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
