"""The processes that read documents: the stages Plan, Read and Look of a batch run, on files from requests.

A document lies in a scratch folder of its own for the time of its request. Several are read in turn, page by page, so
that a long one does not hold up a short one; the native code runs in the sandbox, as in batch.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from stages.base import OpenStages, Row, set_column
from stages.columns import COLUMNS
from stages.draw import Look
from stages.plan import Plan
from stages.read import Read
from stages.reading import READER
from stages.settings import Settings

T = TypeVar("T")
Pixels = tuple[int, int] | None


class Reader:
    """A process that reads."""

    def __init__(self, settings: Settings, target: str = READER) -> None:
        """``target`` is what runs in the sandbox."""
        self._settings, self._target = settings, target
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._plan = OpenStages([Plan(settings=settings, target=target)], last_try=True)
        self._reading: dict[Pixels, OpenStages] = {}
        self._looking: dict[tuple[tuple[str, ...], Pixels, bool], OpenStages] = {}
        self._scratch = Path(tempfile.mkdtemp(prefix="manta-serve-"))
        self._count = 0

    async def ready(self) -> bool:
        """That the process is there."""
        return True

    async def read(self, data: bytes, name: str, pixels: Pixels, first: int = 1) -> AsyncIterator[pa.Table]:
        """The pages of a document from the page ``first`` on, one table each, as they are read; or its failure.

        ``name`` is what rows call it; ``pixels`` (height, width) asks for what a page looks like.
        """
        path = self._path()
        try:
            await self._run(lambda: path.write_bytes(data))
            pages = self._pages(path, name, pixels, first)
            while (page := await self._run(lambda: next(pages, None))) is not None:
                yield page
        finally:
            path.unlink(missing_ok=True)

    async def look(self, table: pa.Table, fills: Sequence[str], pixels: Pixels, keep: bool) -> pa.Table:
        """Rows with what they lack and their ``image`` shows."""
        key = (tuple(fills), pixels, keep)
        if key not in self._looking:
            look = Look(settings=self._settings, fills=key[0], pixels=pixels, keep=keep, target=self._target)
            self._looking[key] = OpenStages([look], last_try=True)
        stages = self._looking[key]
        return await self._run(lambda: pa.concat_tables(list(stages(table))))

    def __del__(self) -> None:
        """Ends the children with the replica."""
        for stages in (self._plan, *self._reading.values(), *self._looking.values()):
            stages.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _path(self) -> Path:
        """A name of ours: nothing of what a stranger calls a file becomes part of a path."""
        self._count += 1
        return self._scratch / f"{self._count}"

    def _pages(self, path: Path, name: str, pixels: Pixels, first: int) -> Iterator[pa.Table]:
        if pixels not in self._reading:
            read = Read(settings=self._settings, pixels=pixels, target=self._target)
            self._reading[pixels] = OpenStages([read], last_try=True)
        for table in self._plan(_listed(path)):
            for index in range(table.num_rows):
                row = table.slice(index, 1)
                number = row["page"][0].as_py()
                if number is None or number >= first:
                    for page in self._reading[pixels](row):
                        yield _named(page, str(path), name)


def _listed(path: Path) -> pa.Table:
    """What a listing would say of the file."""
    row: Row = {"uri": str(path), "source": "request", "size": path.stat().st_size, "kind": None, "done": None}
    return pa.table({name: pa.array([value], COLUMNS[name].type) for name, value in row.items()})


def _named(page: pa.Table, path: str, name: str) -> pa.Table:
    """The page as one of the document that its sender knows: our path is nobody's business."""
    page = set_column(page, "uri", pa.array([name] * page.num_rows, pa.string()))
    failures = page["failure"].to_pylist()
    for one in failures:
        if one is not None:
            one["message"], one["detail"] = (one[key].replace(path, name) for key in ("message", "detail"))
    return set_column(page, "failure", pa.array(failures, COLUMNS["failure"].type))
