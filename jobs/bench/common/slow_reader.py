"""A reader for the sandbox that reads nothing and takes its time: what a run costs beside OCR shows in the rest.

Every file has one page; ``ocr`` sleeps for 50 ms, or 10 ms, and answers three words.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import numpy as np

from stages.frames import Value
from stages.sandbox_child import Handler

TARGETS = {50: "jobs.bench.common.slow_reader:open_50_ms", 10: "jobs.bench.common.slow_reader:open_10_ms"}
"""What to name as the sandbox's target, by milliseconds a page."""
_SIZE: dict[str, Value] = {"width": 595.0, "height": 842.0}
_PAGE: dict[str, Value] = {
    "words": ["three", "words", "only"],
    "boxes": np.array([[100, 100, 200, 120], [220, 100, 320, 120], [340, 100, 400, 120]], np.int16),
    "lines": np.zeros(3, np.int32),
    "engine": "tesserocr",
    "turned": 0,
    **_SIZE,
}


def open_50_ms(_settings: Mapping[str, Value]) -> Handler:
    """50 ms a page."""
    return _Reader(0.050).handle


def open_10_ms(_settings: Mapping[str, Value]) -> Handler:
    """10 ms a page."""
    return _Reader(0.010).handle


class _Reader:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key: Value = None

    def handle(self, request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]:
        """As the real reader does, it wants each file once."""
        if file is None and request["key"] != self._key:
            return {"need_file": True}
        self._key = request["key"]
        match request["op"]:
            case "open":
                return {"pages": 1}
            case "picture":
                return _SIZE
            case _:
                time.sleep(self._seconds)
                return _PAGE


def main(output: str, target: str, *inputs: str) -> None:
    """``manta run text --text ocr`` with that target in the sandbox; prints the record."""
    from jobs.batch import execute
    from jobs.prepare import Request
    from jobs.progress import Progress
    from stages.settings import Settings

    request = Request(family="text", task=None, inputs=inputs, output=output, settings=Settings(text="ocr"))
    result = execute(request, Progress.quiet(), reader=target)
    sys.stdout.write(result.record.to_json() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
