"""The model families, one file or folder each; the file name registers it. Importing this loads no torch."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path

from pipelines.family import Checkpoint, Family, Metric, Options, Task
from stages.errors import UsageError

__all__ = ["Checkpoint", "Family", "Metric", "Options", "Task", "families", "family", "task"]

_FRAME = frozenset(
    {
        "family",
        "tasks",
        "checkpoint",
        "checkpoint_mlflow",
        "checkpoint_sources",
        "pyfunc",
        "registering",
        "rehearsal",
        "sync_batch_norm",
    },
)
"""Modules of this folder that are not families."""


def families() -> list[str]:
    """The names of all families, sorted; reads the folder listing only."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if module.name not in _FRAME)


def family(name: str) -> Family:
    """The family of that name. Raises UsageError that lists what exists."""
    if name not in families():
        near = _nearest(name, families())
        raise UsageError(f"no family {name!r}{near}; there are: {', '.join(families())}. Try: manta families")
    found = importlib.import_module(f"pipelines.{name}").FAMILY
    assert isinstance(found, Family)
    return found


def task(family_name: str, task_name: str) -> type[Task]:
    """The task of a family. Raises UsageError that lists the family's tasks and shows a call."""
    found = family(family_name)
    names = [each.name for each in found.tasks]
    if task_name not in names:
        raise UsageError(
            f"family {family_name} has no task {task_name!r}{_nearest(task_name, names)}; it has: {', '.join(names)}. "
            f"Try: manta run {family_name} --task {names[0]} --input FOLDER --output OUT",
        )
    return found.task(task_name)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
