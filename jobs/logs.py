"""What is told on standard error: lines for people, or one JSON object a line for a log store.

``manta --log-format json …`` or ``MANTA_LOG=json``, which children and submitted jobs inherit, gives each line
``time``, ``level``, ``message`` and ``run_id``; what concerns a row also ``document`` (its URI), ``page``, ``record``
and ``code``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal

VARIABLE = "MANTA_LOG"
Format = Literal["text", "json"]
ROWS = logging.getLogger("manta.rows")
"""Tells of every failed row, at level INFO: heard in JSON only, where a machine reads it."""
_ROW_FIELDS = ("document", "page", "record", "code")
_run_id = ""


def use(log_format: Format) -> None:
    """Sets the form for this process and its children."""
    os.environ[VARIABLE] = log_format
    if log_format == "text":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("manta").setLevel(logging.INFO)


def as_json() -> bool:
    """Whether lines are JSON."""
    return os.environ.get(VARIABLE) == "json"


def about_run(run_id: str) -> None:
    """All lines from now on concern that run."""
    global _run_id  # noqa: PLW0603 - one run a process
    _run_id = run_id


def line(text: str, level: str = "INFO") -> str:
    """A line for standard error in the form that is set, without its end."""
    return _encode(level, text, {}) if as_json() else text


def message_of(text: str) -> str:
    """What a line says, whichever form it has."""
    try:
        told = json.loads(text)
    except ValueError:
        return text
    return str(told["message"]) if isinstance(told, dict) and "message" in told else text


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        row = {name: getattr(record, name) for name in _ROW_FIELDS if getattr(record, name, None) is not None}
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return _encode(record.levelname, text, {"logger": record.name, **row})


def _encode(level: str, message: str, more: dict[str, object]) -> str:
    about = {"run_id": _run_id} if _run_id else {}
    told = {"time": datetime.now(UTC).isoformat(), "level": level, "message": message, **about, **more}
    return json.dumps(told, ensure_ascii=False, default=str)
