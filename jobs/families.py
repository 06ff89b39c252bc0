"""``manta families``: what there is to run, from the families' own descriptions."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pipelines
from stages.columns import carried


@dataclass(frozen=True, kw_only=True)
class TaskLine:
    """One task of one family."""

    family: str
    task: str
    summary: str
    reads: tuple[str, ...]
    """Columns that a table must have; what a model looks at is made of its images."""
    optional: tuple[str, ...]
    """Columns that are used where a table has them."""
    writes: tuple[str, ...]
    """Columns of ``results/``."""
    checkpoint: str
    """The default one."""
    licence: str
    """Of the default checkpoint's weights."""
    metric: str
    """What training is judged by; empty where the task cannot be trained."""


def task_lines() -> list[TaskLine]:
    """Every task of every family, families sorted by name."""
    return [line for name in pipelines.families() for line in _lines(name, pipelines.family(name))]


def _lines(name: str, family: pipelines.Family) -> list[TaskLine]:
    return [
        TaskLine(
            family=name,
            task=task.name,
            summary=task.summary,
            reads=tuple(carried(name) for name in task.reads),
            optional=tuple(carried(name) for name in task.optional),
            writes=task.writes,
            checkpoint=family.checkpoints.get(task.name) or family.checkpoints[""],
            licence=family.licence,
            metric=task.metric.name if task.metric else "",
        )
        for task in family.tasks
    ]


def as_json() -> list[dict[str, object]]:
    """The families for programs: summary, licence, notice, and their tasks."""
    lines = task_lines()
    found: list[dict[str, object]] = []
    for name in pipelines.families():
        family = pipelines.family(name)
        tasks = [
            {key: value for key, value in asdict(one).items() if key != "family"} for one in lines if one.family == name
        ]
        found.append(
            {
                "family": name,
                "summary": family.summary,
                "licence": family.licence,
                "notice": family.notice,
                "tasks": tasks,
            },
        )
    return found


def short(checkpoint: str) -> str:
    """A checkpoint reference with its revision cut to seven digits, for tables."""
    name, at, revision = checkpoint.partition("@")
    return f"{name}@{revision[:7]}" if at else name
