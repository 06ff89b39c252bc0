"""The model families, one file or folder each; the file name registers it. Importing this loads no torch.

Other packages add families by entry points of the group ``manta.families``:

    [project.entry-points."manta.families"]
    NAME = "package.module:FAMILY"
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

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
        "contract",
        "registering",
        "rehearsal",
        "sync_batch_norm",
    },
)
"""Modules of this folder that are not families."""


GROUP = "manta.families"
"""Entry points of this group are families of other packages."""


def families() -> list[str]:
    """The names of all families, sorted; reads the folder's listing and what packages say of themselves."""
    return sorted({*_own(), *_others()})


def family(name: str) -> Family:
    """The family of that name. Raises UsageError that lists what exists, or names the package that breaks it."""
    if name in _own():
        if name in _others():
            package = _package(_others()[name])
            raise UsageError(f"{package} brings a family {name!r}, which Manta has itself: uninstall {package}")
        found = importlib.import_module(f"pipelines.{name}").FAMILY
    elif name in _others():
        found = _load(_others()[name])
    else:
        near = _nearest(name, families())
        raise UsageError(f"no family {name!r}{near}; there are: {', '.join(families())}. Try: manta families")
    assert isinstance(found, Family)
    return found


def _own() -> set[str]:
    """Families in this folder."""
    return {module.name for module in pkgutil.iter_modules(__path__) if module.name not in _FRAME}


def _others() -> Mapping[str, EntryPoint]:
    """Families of other packages."""
    return _scan(tuple(sys.path))


@functools.lru_cache(maxsize=1)
def _scan(path: tuple[str, ...]) -> Mapping[str, EntryPoint]:  # noqa: ARG001 - packages are looked for there
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UsageError(
                f"{_package(other)} and {_package(entry)} both bring a family {entry.name!r}: uninstall one"
            )
    return found


def _package(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name}" if entry.dist else entry.value


def _load(entry: EntryPoint) -> Family:
    """Raises UsageError for what cannot be imported, or is no family."""
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{_package(entry)} does not bring its family {entry.name!r} ({entry.value}): {error}"
        ) from error
    if not isinstance(found, Family):
        raise UsageError(f"{_package(entry)}: {entry.value} is a {type(found).__name__}, not a Family")
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
