"""From rows or a document to answers, over the processes that read and those that hold models.

Answers do not depend on who gives them, so a call whose process dies is made again on another, ``AGAIN`` times; what
was read of a document until then is kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from ray.exceptions import ObjectLostError, RayActorError, WorkerCrashedError

from jobs.serving.answers import Answer
from jobs.serving.models import Served
from jobs.serving.refusals import Refused
from jobs.serving.requests import Upload
from jobs.ways_in import medium
from stages.base import Row, set_column
from stages.columns import SENSED
from stages.errors import UsageError

T = TypeVar("T")
Found = tuple[list[Row], list[Row]]
"""Result rows and errors."""
AGAIN = 2
"""How often a call is made again whose process died."""
AHEAD = 8
"""Pages of one document that are with the model at once."""
_DIED = (RayActorError, WorkerCrashedError, ObjectLostError)


class Answering:
    """The handles of an ingress replica, put to work."""

    def __init__(self, models: Mapping[str, Any], documents: Any) -> None:  # noqa: ANN401 - Serve's handles
        """``models``: the handle of each model's processes, by its name."""
        self._models, self._documents = models, documents

    async def ready(self) -> list[str]:
        """The models that answer."""
        handles = list(dict.fromkeys(self._models.values()))
        names = await asyncio.gather(*(handle.ready.remote() for handle in handles), self._documents.ready.remote())
        return sorted(name for some in names[:-1] for name in some)

    async def rows(self, answer: Answer, table: pa.Table, deadline: float) -> None:
        """All rows of a request into ``answer``, errors by row."""
        served = answer.served
        healthy = _without_failed(table, answer)
        if healthy.num_rows and _brings_files(served, healthy):
            looked = await _again(lambda: self._documents.look.remote(healthy, served))
            healthy = _without_failed(looked, answer)
        if healthy.num_rows:
            await self._predict(answer, healthy, deadline)
        answer.errors.sort(key=_by_record)

    async def pages(self, answer: Answer, upload: Upload, deadline: float) -> AsyncIterator[Found]:
        """The rows and errors of a document's pages into ``answer`` and to the caller, in the order of the pages."""
        waiting: deque[asyncio.Task[pa.Table]] = deque()
        try:
            async for page in self._read(answer.served, upload):
                answer.saw_document(page)
                waiting.append(asyncio.create_task(self._page(answer, page, deadline)))
                while waiting and (len(waiting) >= AHEAD or waiting[0].done()):
                    yield answer.add(await waiting.popleft())
            while waiting:
                yield answer.add(await waiting.popleft())
        finally:
            for task in waiting:
                task.cancel()

    async def _page(self, answer: Answer, page: pa.Table, deadline: float) -> pa.Table:
        if pc.is_valid(page["failure"])[0].as_py():
            return page
        found, tokens = await self._call(answer.served, page, deadline)
        answer.tokens += tokens
        return found

    async def _predict(self, answer: Answer, table: pa.Table, deadline: float) -> None:
        found, tokens = await self._call(answer.served, table, deadline)
        answer.tokens += tokens
        answer.add(found)

    async def _call(self, served: Served, table: pa.Table, deadline: float) -> tuple[pa.Table, int]:
        handle = self._models[served.name]
        return await _again(lambda: handle.answer.remote(served.name, table, deadline))

    async def _read(self, served: Served, upload: Upload) -> AsyncIterator[pa.Table]:
        """The document's pages, with the request's fields as columns."""
        first, tries = 1, 0
        while True:
            try:
                stream = self._documents.options(stream=True).read.remote(upload.data, upload.name, served, first)
                async for page in stream:
                    first += 1
                    for name in upload.fields.column_names:
                        page = set_column(page, name, pa.repeat(upload.fields[name][0], page.num_rows))  # noqa: PLW2901
                    yield page
            except _DIED as error:
                tries = _tried(tries, error)
            else:
                return


async def _again(call: Callable[[], Awaitable[T]]) -> T:
    tries = 0
    while True:
        try:
            return await call()
        except _DIED as error:
            tries = _tried(tries, error)


def _tried(tries: int, error: Exception) -> int:
    if tries >= AGAIN:
        raise Refused("unavailable", "the process that worked on this died, again and again", retry_after=5) from error
    return tries + 1


def _without_failed(table: pa.Table, answer: Answer) -> pa.Table:
    """The healthy rows; the others go into ``answer``."""
    failed = pc.is_valid(table["failure"])
    answer.add(table.filter(failed))
    return table.filter(pc.invert(failed))


def _brings_files(served: Served, table: pa.Table) -> bool:
    """Whether the task hears or sees what rows hold, or a row lacks what its image would show."""
    return bool(medium(served.task)) or any(table[name].null_count for name in served.columns.instead)


def _by_record(row: Row) -> int:
    record = row["record"]
    return record if isinstance(record, int) else -1


def check_task(served: Served, upload: Upload) -> None:
    """Raises Refused where the task cannot work with what a document gives."""
    there = {*served.of_document, *upload.fields.column_names}
    missing = [name for name in served.task.reads if name not in there]
    if missing:
        called = served.columns.called(SENSED.get(missing[0], missing[0]))
        message = f"the task needs {called!r}, which no document has: send it as a field of the form, or send rows"
        raise Refused("encode_failed", message, status=422)
    try:
        served.task.check(there)
    except UsageError as error:
        raise Refused("encode_failed", str(error), status=422) from error
