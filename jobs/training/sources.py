"""What a training learns from and is judged by: tables, made of labelled data where that was named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.labelled import table_of, with_labels
from jobs.tracking_card import Data
from jobs.training.encode import Tables, find_tables
from jobs.training.settings import Train
from jobs.training.split import split
from pipelines import Checkpoint, Task
from stages.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Training and evaluation rows, and what is told of them."""

    tables: Tables
    held_out: Tables | None
    data: Data
    evaluation: Data | None
    checkpoint: Checkpoint
    """The task's own; with the data's labels where its head has no names for any."""


def find_sources(task: Task, data: str, eval_data: str | None, output: str, settings: Train) -> Sources:
    """The rows at ``data`` and ``eval_data``, or a share of ``data``, for a task whose processor is loaded. Raises
    UsageError."""
    tables, told = _found(task, data, output, "train")
    held_out, judged = None, None
    if eval_data:
        if settings.eval_share:
            raise UsageError("train.eval_share keeps training rows to judge by, and --eval-data names others: take one")
        held_out, judged = _found(task, eval_data, output, "evaluation")
    elif settings.eval_share:
        tables, held_out = split(tables, settings.eval_share, settings.eval_group)
        told, judged = _told(data, tables), _told(data, held_out)
    files = (*tables.files, *(held_out.files if held_out else ()))
    column = next((name for name in ("labels", "label") if name in task.gold and name in files[0].columns), None)
    checkpoint = with_labels(task.checkpoint, column, files, output) if column else task.checkpoint
    return Sources(tables=tables, held_out=held_out, data=told, evaluation=judged, checkpoint=checkpoint)


def _found(task: Task, uri: str, output: str, name: str) -> tuple[Tables, Data]:
    source = table_of(uri, task, output, name)
    tables = find_tables(source.table, task)
    return tables, _told(uri, tables, source.digest)


def _told(uri: str, tables: Tables, digest: str = "") -> Data:
    return Data(name=Path(uri).name, digest=digest or tables.digest, rows=tables.rows)
