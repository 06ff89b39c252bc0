"""A function in a process of its own, so that its memory is its own."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stages.errors import MantaError


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the function answered."""

    answer: dict[str, float]
    peak_bytes: int
    """Most memory that the process had at once, libraries included."""


def in_child(function: str, *arguments: str | int) -> Told:
    """Calls ``"module:function"`` in a fresh interpreter; it answers numbers by name. Raises MantaError if it fails."""
    command = [sys.executable, "-m", "jobs.bench.common.child", function, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MantaError(f"{function} failed: {done.stderr.strip()[-2000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Told(answer=answer, peak_bytes=int(answer.pop("peak_bytes")))


def _main(function: str, arguments: str) -> None:
    module, _, name = function.partition(":")
    answer = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(json.dumps({**answer, "peak_bytes": 1024 * int(peak.split()[1])}) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
