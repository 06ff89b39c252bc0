"""Waiting for what a test needs, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Returns once it is true; fails where it is not in that time."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not come in time"
        time.sleep(0.1)
