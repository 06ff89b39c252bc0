"""The processes that read: the stages of a batch run up to the model's, on files from requests.

A file lies in a scratch folder of its own for the time of its request. Several documents are read in turn, page by
page, so that a long one does not hold up a short one; the native code runs in the sandbox, as in batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from jobs.serving.models import Served
from jobs.serving.scratch import Scratch
from jobs.ways_in import from_documents, from_files, planned
from stages.base import OpenStages, Row, Stage, set_column
from stages.columns import COLUMNS
from stages.reading import READER
from stages.settings import Settings

T = TypeVar("T")


class Reader:
    """A process that reads."""

    def __init__(self, settings: Settings, target: str = READER) -> None:
        """``target`` is what runs in the sandbox for PDFs and images."""
        self._settings, self._target = settings, target
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._open: list[tuple[tuple[Stage, ...], OpenStages]] = []
        self._scratch = Scratch()

    async def ready(self) -> bool:
        """That the process is there."""
        return True

    async def read(self, data: bytes, name: str, served: Served, first: int = 1) -> AsyncIterator[pa.Table]:
        """What the model needs of a document from the page ``first`` on, one table a page, as they are read; or why
        there is nothing. ``name`` is what rows call it.
        """
        path = self._scratch.path()
        try:
            await self._run(lambda: path.write_bytes(data))
            pages = self._pages(path, name, served, first)
            while (page := await self._run(lambda: next(pages, None))) is not None:
                yield page
        finally:
            path.unlink(missing_ok=True)

    async def look(self, table: pa.Table, served: Served) -> pa.Table:
        """Rows with what the model needs of the files in their columns."""
        stage = from_files(served.task, served.columns, self._settings, takes=served.takes, reader=self._target)
        assert stage is not None
        return await self._run(lambda: pa.concat_tables(list(self._opened(stage)(table))))

    def __del__(self) -> None:
        """Ends the children with the replica."""
        for _, stages in self._open:
            stages.close()
        self._scratch.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _opened(self, *stages: Stage) -> OpenStages:
        """These stages at work. Models that take the same of a file share them, and so their child."""
        for known, there in self._open:
            if known == stages:
                return there
        self._open.append((stages, OpenStages(stages, last_try=True)))
        return self._open[-1][1]

    def _pages(self, path: Path, name: str, served: Served, first: int) -> Iterator[pa.Table]:
        plan = planned(self._settings, takes=served.takes, reader=self._target)
        read = from_documents(served.task, self._settings, takes=served.takes, reader=self._target)
        for table in self._opened(*plan)(_listed(path)):
            for index in range(table.num_rows):
                row = table.slice(index, 1)
                number = row["page"][0].as_py() if plan else 1
                if number is None or number >= first:
                    for page in self._opened(read)(row):
                        yield _named(page, str(path), name)


def _listed(path: Path) -> pa.Table:
    """What a listing would say of the file."""
    row: Row = {"uri": str(path), "source": "request", "size": path.stat().st_size, "kind": None, "done": None}
    return pa.table({column: pa.array([value], COLUMNS[column].type) for column, value in row.items()})


def _named(page: pa.Table, path: str, name: str) -> pa.Table:
    """The page as one of the document that its sender knows: our path is nobody's business."""
    page = set_column(page, "uri", pa.array([name] * page.num_rows, pa.string()))
    failures = page["failure"].to_pylist()
    for one in failures:
        if one is not None:
            one["message"], one["detail"] = (one[key].replace(path, name) for key in ("message", "detail"))
    return set_column(page, "failure", pa.array(failures, COLUMNS["failure"].type))
