"""What a task takes from tables, documents and earlier pages, and the stages that bring it there."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines import Task
from stages.base import Stage
from stages.columns import FOUND_AS, MADE_OF
from stages.draw import Draw, Look
from stages.read import Read
from stages.reading import READER
from stages.reuse import Reuse
from stages.settings import Settings
from stages.tables import Columns, ReadTable


def columns_of(
    task: type[Task] | Task, *, more: tuple[str, ...] = (), paths: Mapping[str, str] | None = None
) -> Columns:
    """The columns of tables for a task; ``more`` are needed besides (right answers), ``paths`` are ``--map``."""
    return Columns(
        needs=(*task.reads, *more),
        optional=task.optional,
        paths={**{name: FOUND_AS[name] for name in task.optional if name in FOUND_AS}, **(paths or {})},
        instead={name: MADE_OF[name] for name in task.reads if name in MADE_OF},
    )


def from_documents(task: Task | None, settings: Settings, *, reader: str = READER) -> Stage:
    """Pages of documents with what the task reads."""
    return Read(settings=settings, pixels=task.pixels if task else None, target=reader)


def from_pages(task: Task | None, settings: Settings, pages: str) -> tuple[Stage, ...]:
    """Pages that an earlier run read; drawn again for a task that looks at them."""
    reuse = Reuse(pages=pages)
    if task is None or task.pixels is None:
        return (reuse,)
    return (reuse, Draw(settings=settings, pixels=task.pixels))


def from_table(task: Task, columns: Columns, settings: Settings) -> tuple[Stage, ...]:
    """Rows of tables; what they lack and an image of theirs shows is read off it."""
    read = ReadTable(columns=columns, limits=settings.limits)
    if not columns.instead:
        return (read,)
    keep = "image" in (*columns.needs, *columns.optional)
    look = Look(settings=settings, fills=tuple(columns.instead), pixels=task.pixels, keep=keep)
    return (read, look)
