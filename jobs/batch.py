"""One batch run from listing to record: plans what is not done, drives Ray, accounts for every document."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jobs.books import Books
from jobs.cluster import connect
from jobs.drive import drive
from jobs.pools import Layout, check_room
from jobs.prepare import Prepared, Request, prepare
from jobs.progress import Progress
from jobs.result import Result
from jobs.stopping import Stopping, stopping
from jobs.ways_in import PART_ROWS
from jobs.work import DocumentWork, ReuseWork, TableWork, Work
from stages.base import Pool, check_plan
from stages.errors import RowError, UsageError
from stages.ledger import Ledger
from stages.listing import listing
from stages.reading import READER
from stages.storage import open_storage
from stages.tables import TableFile, inspect

WAVE = 8_000
"""Documents of one Ray execution: bounds what the driver keeps, long enough that starting it costs nothing."""


def execute(request: Request, progress: Progress, *, reader: str = READER) -> Result:
    """Runs a request; ``reader`` is what runs in the sandbox.

    Raises as ``jobs.run`` does; the record is written and the MLflow run closed in every case.
    """
    started = time.perf_counter()
    prepared = prepare(request)
    with ExitStack() as stack:
        stack.callback(prepared.rehearsal.stop)
        stop = stack.enter_context(stopping())
        books = stack.enter_context(Books.open(prepared, started))
        books.took("prepare")
        resources = connect(request.address)
        stop.listen()
        books.took("ray")
        takes = prepared.rehearsal.wait()
        books.took("rehearsal")
        layout = Layout(
            task=prepared.task,
            settings=request.settings,
            stamp=books.stamp,
            output=open_storage(request.output).uri,  # whole: workers, and who reads the result, may stand elsewhere
            pages=open_storage(request.pages_uri).uri,
            resources=resources,
            takes=takes,
            reader=reader,
        )
        books.took("tracking")
        _Run(prepared=prepared, layout=layout, books=books, stop=stop, progress=progress).go()
        return Result(record=books.record, output=layout.output, pages_uri=layout.pages)


@dataclass(kw_only=True)
class _Run:
    """One run under way."""

    prepared: Prepared
    layout: Layout
    books: Books
    stop: Stopping
    progress: Progress

    def go(self) -> None:
        """All work, then the closing of the books."""
        self.progress.start(self.books.record)
        try:
            with self.stop.interruptible():
                ledger = self.books.load_ledger()
            self.books.took("ledger")
            self._all_work(ledger)
        finally:
            self.progress.close()
        self.books.close(complete=self.prepared.request.limit is None)
        if self.prepared.task is not None:
            self.prepared.task.conclude(self.prepared.request.output)

    def _all_work(self, ledger: Ledger) -> None:
        for todo in self._waves(ledger):
            is_table = pc.equal(todo["kind"], "table")
            documents, tables = todo.filter(pc.invert(is_table)), todo.filter(is_table)
            if documents.num_rows:
                self._check_documents()
                work = DocumentWork(documents=documents, records=self.prepared.records)
                pools = partial(self.layout.documents, count=documents.num_rows)
                self._drive(work, pools, self._block_rows(documents))
            if tables.num_rows:
                self._tables(tables, ledger)
        for parts in _grouped(ledger.reusable(), WAVE, _pages):
            self.books.reused(_pages(parts))
            self._drive(ReuseWork(parts=parts, records=self.prepared.records), self.layout.reused, PART_ROWS)

    def _waves(self, ledger: Ledger) -> Iterator[pa.Table]:
        """What is listed and not done, of many inputs together: each wave starts processes of its own."""
        for todo in _grouped(self._todo(ledger), WAVE, lambda table: int(table.num_rows)):
            for start in range(0, todo.num_rows, WAVE):
                yield todo.slice(start, WAVE)

    def _todo(self, ledger: Ledger) -> Iterator[pa.Table]:
        """What is listed and not done, as it is listed."""
        request = self.prepared.request
        for listed in listing(request.inputs, exclude=(request.output, request.pages_uri)):
            most = None if request.limit is None else request.limit - (ledger.listed - ledger.skipped)
            todo = ledger.todo(listed if most is None else ledger.first_open(listed, most))
            self.books.listed(listed, ledger)
            self.progress.update(self.books.record)
            yield todo
            if request.limit is not None and ledger.listed - ledger.skipped >= request.limit:
                return

    def _block_rows(self, documents: pa.Table) -> int:
        """Documents a source block: few where there are few, so that every core has some to the end.

        A PDF's pages are spread anyway; images are one page each, and four blocks a core keep the last one short.
        """
        rows: int = documents.num_rows
        return max(1, min(PART_ROWS, rows // (4 * max(1, int(self.layout.resources.cpus)))))

    def _tables(self, tables: pa.Table, ledger: Ledger) -> None:
        files: list[TableFile] = []
        done: list[list[tuple[int, int]]] = []
        for one in tables.to_pylist():
            uri, source = one["uri"], one["source"]
            try:
                file = inspect(uri, source, one["size"], self.prepared.columns, self.prepared.request.settings.limits)
            except RowError as error:
                self.books.failed_document(uri, source, error)
                continue
            self._check_table(file)
            files.append(file)
            done.append([(int(record), 1) for record in ledger.done_records(uri, source)])
        work, columns, layout = TableWork(tables=files, done=done), self.prepared.columns, self.layout
        pools = partial(layout.tables, columns, slices=work.slices(layout.table_rows))
        self._drive(work, pools, layout.table_rows)

    def _check_documents(self) -> None:
        """Raises UsageError where the stages or the task cannot work with what documents give."""
        check_plan({"uri", "source", "size", "kind", "done"}, self.layout.documents(None))
        if self.prepared.task is not None:
            self.prepared.task.check(self.layout.document_columns())

    def _check_table(self, file: TableFile) -> None:
        """Raises UsageError where the task cannot work with the table's columns."""
        if self.prepared.task is None:
            raise UsageError(f"{file.uri} is a table: manta run text reads documents; leave tables out of --input")
        self.prepared.task.check(file.columns)
        if self.prepared.records > 1:
            raise UsageError(
                f"{file.uri} is a table, whose rows are asked one question each: give it a column question, "
                "or ask one with task.questions",
            )

    def _drive(self, work: Work, pools: Callable[[int | None], list[Pool]], first_rows: int) -> None:
        check_room(pools(None), self.layout.resources)
        for receipts in drive(work, pools, first_rows, self.stop, self.progress.say):
            self.books.add(receipts)
            self.progress.update(self.books.record)
        self.books.lost(work.lost())
        self.progress.update(self.books.record)


def _grouped(tables: Iterator[pa.Table], most: int, size: Callable[[pa.Table], int]) -> Iterator[pa.Table]:
    """Tables joined until they hold ``most``, by their ``size``."""
    held: list[pa.Table] = []
    there = 0
    for table in tables:
        held.append(table)
        there += size(table)
        if there >= most:
            yield pa.concat_tables(held)
            held, there = [], 0
    if held:
        yield pa.concat_tables(held)


def _pages(parts: pa.Table) -> int:
    """Pages of parts that can be reused."""
    return sum(map(len, parts["rows"].to_pylist()))
