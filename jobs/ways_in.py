"""What a task takes from tables, documents and earlier pages, and the stages that bring it there."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines import Task
from stages.base import Stage
from stages.columns import MADE_OF, SENSED
from stages.draw import Draw, Look
from stages.image import See, see_fingerprint
from stages.plan import Plan
from stages.read import Read, check_languages, read_fingerprint
from stages.reading import READER
from stages.reuse import Reuse
from stages.settings import Settings
from stages.tables import Columns, ReadTable
from stages.view import View


def columns_of(
    task: type[Task] | Task, *, more: tuple[str, ...] = (), paths: Mapping[str, str] | None = None
) -> Columns:
    """The columns of tables for a task; ``more`` are needed besides (right answers), ``paths`` are ``--map``."""
    return Columns(
        needs=tuple(SENSED.get(name, name) for name in (*task.reads, *more)),
        optional=tuple(SENSED.get(name, name) for name in task.optional),
        paths=paths or {},
        instead={name: MADE_OF[name] for name in task.reads if name in MADE_OF},
    )


def reads_words(task: type[Task] | Task | None) -> bool:
    """Whether documents are read for it, their words found and kept; a task that senses them needs none."""
    return task is None or not _sensed(task)


def fingerprint(task: type[Task] | Task | None, settings: Settings) -> str:
    """What decides what the task gets of a document. Raises UsageError where an engine lacks what it needs."""
    if not reads_words(task):
        return see_fingerprint(settings)
    if settings.text != "layer":
        check_languages(settings)
    return read_fingerprint(settings)


def planned(settings: Settings, *, reader: str = READER) -> tuple[Stage, ...]:
    """From listed documents to their pages."""
    return (Plan(settings=settings, target=reader),)


def from_documents(task: Task | None, settings: Settings, *, takes: View | None = None, reader: str = READER) -> Stage:
    """Pages of documents with what the task reads; ``takes`` is what ``task.takes()`` says."""
    if isinstance(takes, View):
        return See(settings=settings, view=takes, target=reader)
    return Read(settings=settings, pixels=task.pixels if task else None, target=reader)


def from_pages(task: Task | None, settings: Settings, pages: str) -> tuple[Stage, ...]:
    """Pages that an earlier run read; drawn again for a task that looks at them."""
    reuse = Reuse(pages=pages)
    if task is None or task.pixels is None:
        return (reuse,)
    return (reuse, Draw(settings=settings, pixels=task.pixels))


def from_table(task: Task, columns: Columns, settings: Settings, *, takes: View | None = None) -> tuple[Stage, ...]:
    """Rows of tables; what they lack and an image of theirs shows is read off it.

    ``takes`` is what ``task.takes()`` says; None asks the task, whose processor must be loaded then.
    """
    read = ReadTable(columns=columns, limits=settings.limits)
    sensed = _sensed(task)
    if sensed:
        takes = takes or task.takes()
        assert takes is not None
        return (read, See(settings=settings, view=takes, columns=sensed))
    if not columns.instead:
        return (read,)
    keep = "image" in (*columns.needs, *columns.optional)
    look = Look(settings=settings, fills=tuple(columns.instead), pixels=task.pixels, keep=keep)
    return (read, look)


def _sensed(task: type[Task] | Task) -> dict[str, str]:
    """Columns of ``stages.columns.SENSED`` that the task reads, and what they are made of."""
    return {name: SENSED[name] for name in (*task.reads, *task.optional) if name in SENSED}
