"""The machine that figures were taken on, and the versions of what took part."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stages.hardware import cpu_flags


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Hardware and load."""

    cpu: str
    cores: int
    """Cores that this process may use."""
    memory_gb: float
    """In 10^9 bytes."""
    gpu: str
    """Empty where there is none."""
    flags: tuple[str, ...]
    """What the CPU computes natively, of what matters to models."""
    load: float
    """Other work when the report was made: the system's load average over five minutes before the bench."""

    @property
    def line(self) -> str:
        """All of it in one line."""
        cpu = f"{self.cpu}, {self.cores} core{'s' * (self.cores != 1)}"
        flags = f" ({', '.join(self.flags)})" if self.flags else ""
        gpu = f", {self.gpu}" if self.gpu else ""
        return f"{cpu}{flags}, {self.memory_gb:.0f} GB{gpu}; load before the bench {self.load:.1f}"


_LOAD = os.getloadavg()[1]
"""Taken when the bench begins, before it makes load of its own."""


@cache
def machine() -> Machine:
    """This machine."""
    import psutil

    return Machine(
        cpu=_cpu(),
        cores=cores(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        gpu=_gpu(),
        flags=tuple(sorted(cpu_flags() & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16"})),
        load=round(_LOAD, 2),
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _gpu() -> str:
    if not Path("/dev/nvidiactl").exists():
        return ""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of these packages, and Python's."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def program_version(program: str, option: str = "--version") -> str:
    """The last word of the first line that a program says of itself; ``missing`` where it is not installed."""
    if shutil.which(program) is None:
        return "missing"
    said = subprocess.run([program, option], capture_output=True, text=True, check=False, timeout=60)
    return _last((said.stdout + said.stderr).splitlines())


def _last(lines: Iterable[str]) -> str:
    words = next(iter(lines), "").split()
    return words[-1] if words else "unknown"
