"""What a task takes from tables, documents and earlier pages, and the stages that bring it there."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.extras import need
from pipelines import Task
from stages import audio, video
from stages.audio import Hear, hear_fingerprint
from stages.base import Stage
from stages.columns import FOUND_AS, MADE_OF, SENSED
from stages.draw import Draw, Look
from stages.image import See, see_fingerprint
from stages.plan import Plan
from stages.read import Read, check_languages, read_fingerprint
from stages.reading import READER
from stages.reuse import Reuse
from stages.sensing import Sense
from stages.settings import Settings
from stages.table_columns import Columns
from stages.tables import ReadTable
from stages.takes import Clips, Sound, Takes
from stages.video import Watch, watch_fingerprint
from stages.view import View

PART_ROWS = 16
"""Pages of one committed part where reading sets the pace: a kill costs at most that many a process."""


def columns_of(
    task: type[Task] | Task, *, more: tuple[str, ...] = (), paths: Mapping[str, str] | None = None
) -> Columns:
    """The columns of tables for a task; ``more`` are needed besides (right answers), ``paths`` are ``--map``."""
    return Columns(
        needs=tuple(SENSED.get(name, name) for name in (*task.reads, *more)),
        optional=tuple(SENSED.get(name, name) for name in task.optional),
        paths={**{name: FOUND_AS[name] for name in task.optional if name in FOUND_AS}, **(paths or {})},
        instead={name: MADE_OF[name] for name in task.reads if name in MADE_OF},
    )


def medium(task: type[Task] | Task | None) -> str:
    """What files the task senses: image, audio or video; empty for a task on texts or pages."""
    sensed = _sensed(task) if task is not None else {}
    return next((name for name in ("audio", "video", "image") if name in sensed.values()), "")


def reads_words(task: type[Task] | Task | None) -> bool:
    """Whether documents are read for it, their words found and kept; a task that senses them needs none."""
    return not medium(task)


def fingerprint(task: type[Task] | Task | None, settings: Settings) -> str:
    """What decides what the task gets of a document. Raises UsageError where an engine lacks what it needs."""
    match medium(task):
        case "audio":
            need("hearing recordings", audio.ENGINES, "media")
            return hear_fingerprint()
        case "video":
            need("watching videos", video.ENGINES, "media")
            return watch_fingerprint(settings)
        case "image":
            return see_fingerprint(settings)
    if settings.text != "layer":
        check_languages(settings)
    return read_fingerprint(settings)


def planned(settings: Settings, *, takes: Takes | None = None, reader: str = READER) -> tuple[Stage, ...]:
    """From listed documents to their pages; nothing for recordings and videos, which have no pages."""
    return () if isinstance(takes, Sound | Clips) else (Plan(settings=settings, target=reader),)


def rows_at_once(takes: Takes | None) -> int:
    """Rows that are handed over at once: a minute of sound is 4 MB, a clip 2 MB."""
    return 4 if isinstance(takes, Sound | Clips) else PART_ROWS


def from_documents(task: Task | None, settings: Settings, *, takes: Takes | None = None, reader: str = READER) -> Stage:
    """Pages of documents with what the task reads; ``takes`` is what ``task.takes()`` says."""
    if takes is not None:
        return _sense(takes, settings, {}, reader=reader)
    return Read(settings=settings, pixels=task.pixels if task else None, target=reader)


def document_columns(task: Task | None, settings: Settings, *, takes: Takes | None = None) -> set[str]:
    """What there is of a document when the model comes."""
    listed = {"uri", "source", "size", "kind", "done"}
    stages = (*planned(settings, takes=takes), from_documents(task, settings, takes=takes))
    return listed.union(*(stage.writes for stage in stages)) - {name for stage in stages for name in stage.drops}


def from_pages(task: Task | None, settings: Settings, pages: str) -> tuple[Stage, ...]:
    """Pages that an earlier run read; drawn again for a task that looks at them."""
    reuse = Reuse(pages=pages)
    if task is None or task.pixels is None:
        return (reuse,)
    return (reuse, Draw(settings=settings, pixels=task.pixels))


def from_table(task: Task, columns: Columns, settings: Settings, *, takes: Takes | None = None) -> tuple[Stage, ...]:
    """Rows of tables; what they lack and an image of theirs shows is read off it.

    ``takes`` is what ``task.takes()`` says; None asks the task, whose processor must be loaded then.
    """
    read = ReadTable(columns=columns, limits=settings.limits)
    files = from_files(task, columns, settings, takes=takes)
    return (read,) if files is None else (read, files)


def from_files(
    task: Task, columns: Columns, settings: Settings, *, takes: Takes | None = None, reader: str = READER
) -> Stage | None:
    """Rows with files in their columns to what the task reads of these; None for a task that reads no files.

    ``takes`` as in ``from_table``.
    """
    sensed = _sensed(task)
    if sensed:
        takes = takes or task.takes()
        assert takes is not None
        return _sense(takes, settings, sensed, reader=reader)
    if not columns.instead:
        return None
    keep = "image" in (*columns.needs, *columns.optional)
    fills = tuple(columns.instead)
    return Look(settings=settings, fills=fills, pixels=task.pixels, keep=keep, target=reader)


def _sense(takes: Takes, settings: Settings, columns: Mapping[str, str], *, reader: str = READER) -> Sense:
    """The stage that brings a model what it takes."""
    match takes:
        case View():
            return See(settings=settings, view=takes, columns=columns, target=reader)
        case Sound():
            return Hear(settings=settings, takes=takes, columns=columns)
        case Clips():
            return Watch(settings=settings, takes=takes, columns=columns)


def _sensed(task: type[Task] | Task) -> dict[str, str]:
    """Columns of ``stages.columns.SENSED`` that the task reads, and what they are made of."""
    return {name: SENSED[name] for name in (*task.reads, *task.optional) if name in SENSED}
