"""What a training wrote down when it began, so that ``--resume`` goes on with the same one; gone when it has ended.

``OUTPUT/trainer/`` holds it and, in ``ray/``, the checkpoints; locally or on S3.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.training.record import RECORD, TrainRecord
from jobs.training.settings import Augment, Train
from pipelines import Task
from stages.errors import UsageError
from stages.storage import open_storage

if TYPE_CHECKING:
    import pyarrow.fs

TRAINER = "trainer"
RUN = "ray"
"""Ray Train's name for the training; the folder of its checkpoints."""
_FILE = f"{TRAINER}/begun.json"
_CHECKPOINTS = "checkpoint_manager_snapshot.json"
"""What Ray Train 2.60 writes beside checkpoints once there is one."""

_HOW = ("restarts", "min_workers", "wait_s", "left_out")
"""Settings that may change when a training goes on: they do not change its result."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A training that began, and whose rows are encoded."""

    asked: Mapping[str, str]
    """What decides its result, by name."""
    workers: int
    """How many there were: a step is dealt into as many shares ever after."""
    left_out: int
    """Rows that could not be encoded."""


def write(output: str, begun: Begun) -> None:
    """Writes it down."""
    open_storage(output).put(_FILE, json.dumps(asdict(begun), indent=2).encode())


def read(output: str) -> Begun | None:
    """What began here and did not end; None where nothing did."""
    try:
        return Begun(**json.loads(open_storage(output).read(_FILE)))
    except FileNotFoundError:
        return None


def asked(family: str, task: Task, settings: Train, augment: Augment, digests: Mapping[str, str]) -> dict[str, str]:
    """What decides a training's result, by name; ``digests`` are the data's."""
    sections: dict[str, Mapping[str, object]] = {
        "train": {name: one for name, one in asdict(settings).items() if name not in _HOW},
        "augment": asdict(augment),
        "task": asdict(task.options),
    }
    told: dict[str, object] = {"family": family, "task": task.name, "checkpoint": task.checkpoint.content, **digests}
    told |= {f"{name}.{key}": one for name, section in sections.items() for key, one in section.items()}
    return {name: str(one) for name, one in told.items()}


def find(output: str, asked: Mapping[str, str], *, resume: bool) -> Begun | TrainRecord | None:
    """What the output holds of this training: where it began, its record where it is done; None where it is new.

    Raises UsageError where another began there, or where this one did and nobody said to go on with it.
    """
    begun = read(output)
    if begun is not None and not _has_checkpoint(output):
        begun = None  # nothing was learned yet
    if begun is not None and not resume:
        raise UsageError(
            f"{output} holds a training that did not end: go on with --resume, or name another --output, or delete "
            f"{output}/{TRAINER}",
        )
    if begun is not None:
        _refuse_others(output, begun, asked)
        return begun
    return _record(output, asked) if resume else None


def _refuse_others(output: str, begun: Begun, asked: Mapping[str, str]) -> None:
    differ = [f"{name} {begun.asked.get(name)} → {one}" for name, one in asked.items() if begun.asked.get(name) != one]
    if differ:
        told = "; ".join(differ[:4])
        raise UsageError(f"--resume goes on with what began in {output}, but this differs: {told}")


def _has_checkpoint(output: str) -> bool:
    return any(Path(one.name).name == _CHECKPOINTS for one in open_storage(output).list(f"{TRAINER}/{RUN}/"))


def _record(output: str, asked: Mapping[str, str]) -> TrainRecord | None:
    """The record of the same training, done."""
    try:
        record = TrainRecord.from_json(open_storage(output).read(RECORD))
    except FileNotFoundError:
        return None
    return record if record.asked == asked else None


def forget(output: str) -> None:
    """Removes all that was kept for going on."""
    if output.startswith("s3://"):
        from stages.storage_s3 import file_system

        place = f"{output.removeprefix('s3://').rstrip('/')}/{TRAINER}"
        if file_system().exists(place):
            file_system().rm(place, recursive=True)
    else:
        shutil.rmtree(Path(output, TRAINER), ignore_errors=True)


def storage_of(output: str) -> tuple[str, pyarrow.fs.FileSystem | None]:
    """Where Ray Train keeps checkpoints: a path, and the file system that it is of (None: the local one)."""
    if not output.startswith("s3://"):
        return str(Path(output, TRAINER)), None
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    from stages.storage_s3 import file_system

    return f"{output.removeprefix('s3://').rstrip('/')}/{TRAINER}", PyFileSystem(FSSpecHandler(file_system()))
