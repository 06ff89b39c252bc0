"""What jobs/run.py does with the record of a run, without Ray: every stage that commits is the real one.

``File`` is a made-up document, ``Plan`` one run over some; ``check_output`` says what must be true afterwards.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import pyarrow as pa

from stages.base import failures_column
from stages.columns import COLUMNS
from stages.errors import AccountingError, Code, Failure, OutputBusyError
from stages.finish import Answers, Finished, Folding, finish
from stages.keys import row_source
from stages.lease import Holder, Lease
from stages.ledger import Ledger
from stages.listing import LISTED, kind_of
from stages.parts import RunStamp, scan
from stages.storage import Storage
from stages.write import PagesWriter, ResultsWriter
from tests.stages.simulated import Crash, DriverStorage, MemoryStorage, Turns

Row = dict[str, object]


def digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class File:
    """One file as it is now. A table has one page of ``pages`` rows."""

    uri: str
    version: int
    pages: int
    corrupt: bool = False
    bad_pages: frozenset[int] = frozenset()
    """Pages that no reader can read."""
    named: bool = False
    """A table whose rows have uris of their own."""

    @property
    def source(self) -> str:
        return f"v{self.version}"

    @property
    def is_table(self) -> bool:
        return kind_of(self.uri) == "table"

    def keys(self, records: int) -> list[tuple[str, str, int, int]]:
        """(uri, source, page, record) of every row that must be there."""
        if self.is_table:
            source = row_source(self.source, self.uri) if self.named else self.source
            return [(f"row{i}" if self.named else self.uri, source, 1, i) for i in range(self.pages)]
        return [(self.uri, self.source, page, r) for page in range(1, self.pages + 1) for r in range(records)]


@dataclass(frozen=True)
class Plan:
    """One driver."""

    name: str
    listed: tuple[File, ...]
    fingerprint: str
    read_fingerprint: str
    records: int
    seed: int
    flaky: float = 0.0
    """Share of pages that fail by the machine's fault."""
    loses: float = 0.0
    """Share of batches that Ray drops once."""
    retry: frozenset[Code] = frozenset()
    dies_at: int | None = None
    after: bool = False
    prune: bool = False
    ruthless: bool = False
    """Takes the lease for dead although its holder only sleeps."""

    @property
    def only_reads(self) -> bool:
        return self.fingerprint == self.read_fingerprint


@dataclass
class World:
    rng: random.Random
    store: Storage = field(default_factory=MemoryStorage)
    finished: Counter[str] = field(default_factory=Counter)
    problems: list[BaseException] = field(default_factory=list)
    at_work: set[str] = field(default_factory=set)

    def run(self, plan: Plan) -> Driver:
        """One run alone, in this thread, on the store as it is."""
        self.at_work = {plan.name}
        driver = Driver(plan, self.store, self)
        driver.run()
        self.at_work = set()
        return driver

    def play(self, plans: list[Plan]) -> None:
        """All drivers at once, until none is left."""
        weights = {plan.name: self.rng.choice((1.0, 1.0, 0.03)) for plan in plans}
        turns = Turns(self.rng, weights)
        self.at_work = {plan.name for plan in plans}
        threads = [turns.start(plan.name, lambda plan=plan: self._body(plan, turns)) for plan in plans]
        for thread in threads:
            thread.start()
        turns.play()
        for thread in threads:
            thread.join()
        if self.problems:
            raise self.problems[0]

    def _body(self, plan: Plan, turns: Turns) -> None:
        storage = DriverStorage(self.store, turns, plan.name, plan.dies_at, plan.after)
        try:
            turns.wait(plan.name)
            Driver(plan, storage, self).run()
        except Crash:
            self.finished["crashed"] += 1
        except OutputBusyError:
            self.finished["busy"] += 1
        except AccountingError as error:
            self.finished["unaccounted"] += 1  # loud, and mended by the next run
            if str(error) == "alone":
                self.problems.append(error)
        except BaseException as error:  # noqa: BLE001 - raised by play() in the test's thread
            self.problems.append(error)
        finally:
            self.at_work.discard(plan.name)


class Driver:
    """What jobs/run.py does, without Ray: every stage that commits is the real one."""

    def __init__(self, plan: Plan, storage: Storage, world: World) -> None:
        self.plan, self.storage, self.world = plan, storage, world
        self.rng = random.Random(plan.seed)
        self.read_pages = 0
        """Pages that were opened and read."""
        self.finished = Finished()

    def run(self) -> None:
        """One run from lease to release."""
        plan = self.plan
        me = replace(Holder.me(plan.name), pid=threading.get_ident())
        lease = Lease(
            self.storage,
            me,
            is_dead=lambda holder: holder.run_id not in self.world.at_work,
            wait=lambda _: None,
            clock=lambda: time.time() + 1e6 * plan.ruthless,
        )
        lease.acquire()
        stamp = RunStamp(
            run_id=plan.name,
            family="f",
            task="t",
            checkpoint="c",
            fingerprint=plan.fingerprint,
            read_fingerprint=plan.read_fingerprint,
            fence=lease.name,
        )
        ledger = Ledger.load(
            self.storage,
            fingerprint=plan.fingerprint,
            read_fingerprint=plan.read_fingerprint,
            records_per_page=plan.records,
            retry=plan.retry,
        )
        listed = pa.Table.from_pylist(
            [{"uri": one.uri, "source": one.source, "size": 1, "kind": kind_of(one.uri)} for one in plan.listed],
            schema=LISTED,
        )
        todo = ledger.todo(listed)
        answers = () if plan.only_reads else ("label", "score")
        folding = Folding(self.storage, stamp, ledger, answers=Answers(columns=answers, reads=answers, combine=best))
        self.pages_writer, self.writer = PagesWriter(self.storage, stamp), ResultsWriter(self.storage, stamp, answers)
        self._batches(folding, self._planned(todo, ledger), read=True)
        self._batches(folding, self._reused(ledger), read=False)
        lease.check()
        self.folding, self.ledger = folding, ledger
        self.finished = finish(self.storage, stamp, ledger, folding, check=lease.check, prune=plan.prune)
        self._accounted(ledger, folding)
        lease.release()
        self.world.finished["finished"] += 1

    def _planned(self, todo: pa.Table, ledger: Ledger) -> list[Row]:
        files = {one.uri: one for one in self.plan.listed}
        rows: list[Row] = []
        for one in todo.to_pylist():
            file = files[one["uri"]]
            head: Row = {"doc_id": digest(file.uri, file.version), "pages": file.pages}
            if file.corrupt:
                rows.append({"uri": file.uri, "source": file.source, "code": Code.CORRUPT})
            elif file.is_table:
                done = set(ledger.done_records(file.uri, file.source).tolist())
                keys = [key for key in file.keys(1) if key[3] not in done]
                rows += [{"uri": u, "source": s, "page": p, "record": r, **head} for u, s, p, r in keys]
            else:
                for page in sorted(set(range(1, file.pages + 1)) - set(one["done"])):
                    code = Code.OCR_TIMEOUT if page in file.bad_pages or self._flakes() else None
                    rows.append({"uri": file.uri, "source": file.source, "page": page, "code": code, **head})
                    self.read_pages += 1
        return rows

    def _reused(self, ledger: Ledger) -> list[Row]:
        return [
            {"uri": uri, "source": source, "doc_id": doc_id, "page": page, "pages": self._length(uri)}
            for table in ledger.reusable()
            for part in table.to_pylist()
            for uri, source, doc_id, page in zip(*(part[n] for n in ("uri", "source", "doc_id", "page")), strict=True)
        ]

    def _length(self, uri: str) -> int:
        return next(one.pages for one in self.plan.listed if one.uri == uri)

    def _flakes(self) -> bool:
        return self.rng.random() < self.plan.flaky

    def _batches(self, folding: Folding, rows: list[Row], *, read: bool) -> None:
        """Commits rows in batches of any size; a dropped batch comes again, cut otherwise."""
        if self.rng.random() < 0.5:
            self.rng.shuffle(rows)
        while rows:
            size = self.rng.randint(1, 6)
            batch, rows = rows[:size], rows[size:]
            if self.rng.random() < self.plan.loses:
                rows += batch
                if self.rng.random() < 0.5:
                    continue  # dropped before it was committed; else after, and its receipts are lost
                self._commit(batch, read=read)
                continue
            for receipts in self._commit(batch, read=read):
                folding.add(receipts)
            if self.rng.random() < 0.2:
                folding.flush()

    def _commit(self, batch: list[Row], *, read: bool) -> list[pa.Table]:
        documents = [row for row in batch if row.get("record") is None]
        if read and documents:
            fine = [row for row in documents if row.get("code") is None]
            if fine:
                for _ in self.pages_writer(page_table(fine, self.plan.read_fingerprint)):
                    pass
        return list(self.writer(self._predicted(batch)))

    def _predicted(self, batch: list[Row]) -> pa.Table:
        """A row a record, with its answer or its failure."""
        rows: list[Row] = []
        for row in batch:
            if row.get("code") is not None or row.get("record") is not None or self.plan.records == 1:
                rows.append(row)
            else:
                rows += [{**row, "record": r} for r in range(self.plan.records)]
        failures, labels, scores = [], [], []
        for row in rows:
            code = row.get("code") or (Code.OUT_OF_MEMORY if not self.plan.only_reads and self._flakes() else None)
            failures.append(Failure(stage="x", code=code, message="m") if code else None)
            label, score = answer(row, self.plan.fingerprint)
            labels.append(label)
            scores.append(score)
        names = ("uri", "source", "doc_id", "page", "pages", "record")
        columns = {name: pa.array([row.get(name) for row in rows], COLUMNS[name].type) for name in names}
        own = {} if self.plan.only_reads else {"label": pa.array(labels), "score": pa.array(scores, pa.float32())}
        return pa.table({**columns, **own, "failure": failures_column(failures)})

    def _accounted(self, ledger: Ledger, folding: Folding) -> None:
        """This run is over: everything it listed is there; once, where nobody else is at work."""
        assert ledger.listed == len(self.plan.listed)
        alone = self.world.at_work == {self.plan.name}
        if ledger.listed != ledger.skipped + sum(folding.counts.values()):
            raise AccountingError("alone" if alone else "another run took rows out")
        check_output(self.world.store, self.plan, exactly=alone)


def answer(row: Row, fingerprint: str) -> tuple[str, float]:
    label = digest(row["uri"], row["source"], row.get("page"), row.get("record") or 0, fingerprint)
    return label, int(label[:4], 16) / 65536


def best(left: Row, right: Row) -> Row:
    return min(left, right, key=lambda row: (-row["score"], row["page"]))


def page_table(rows: list[Row], read_fingerprint: str) -> pa.Table:
    names = ("uri", "source", "doc_id", "page", "pages")
    columns = {name: pa.array([row[name] for row in rows], COLUMNS[name].type) for name in names}
    texts = [digest(row["uri"], row["source"], row["page"], read_fingerprint) for row in rows]
    there = ("width", "height", "words", "boxes", "reader")
    return pa.table({**columns, "text": texts, **{n: pa.nulls(len(rows), COLUMNS[n].type) for n in there}})


# ---- what must be true


def stored(store: Storage, folder: str) -> list[Row]:
    return [row for _, table in scan(store, folder, None) for row in table.to_pylist()]


def check_output(store: Storage, plan: Plan, *, exactly: bool) -> None:
    results, errors = stored(store, "results"), stored(store, "errors")
    pages, documents = stored(store, "pages"), stored(store, "documents")
    ours = [row for row in results if row["fingerprint"] == plan.fingerprint]
    if plan.only_reads:
        ours = [{**row, "record": 0} for row in pages if row["read_fingerprint"] == plan.read_fingerprint]
    keyed = Counter((row["uri"], row["source"], row["page"], row["record"]) for row in ours)
    failed = Counter(
        (row["uri"], row["source"], row["page"], row["record"])
        for row in errors
        if row["fingerprint"] == plan.fingerprint
    )
    for file in plan.listed:
        check_file(file, plan, keyed, failed, exactly=exactly)
        mine = [row for row in documents if (row["uri"], row["source"]) == (file.uri, file.source)]
        mine = [row for row in mine if row["fingerprint"] == plan.fingerprint]
        if exactly:
            assert mine, f"{file} has no row in documents/"
            check_document(file, plan, mine, ours, failed)
    if exactly:
        current = {(file.uri, file.source) for file in plan.listed}
        names = {file.uri for file in plan.listed}
        for folder in (results, errors, pages, documents):
            stale = [row for row in folder if row["uri"] in names and (row["uri"], row["source"]) not in current]
            assert not stale, stale
        for folder in (results, errors, documents):
            assert {row["fingerprint"] for row in folder if row["uri"] in names} <= {plan.fingerprint}
        assert {row["read_fingerprint"] for row in pages if row["uri"] in names} <= {plan.read_fingerprint}
        check_once(results, errors, pages, documents)


def check_file(file: File, plan: Plan, keyed: Counter, failed: Counter, *, exactly: bool) -> None:
    """Every key has its result or its error row; one, where ``exactly``."""
    whole = failed[file.uri, file.source, None, None]
    if file.corrupt:
        assert whole, f"{file} has no error row"
        assert not exactly or whole == 1
        return
    for key in file.keys(plan.records):
        page_error = failed[*key[:3], None]
        rows = keyed[key] + failed[key] + page_error
        assert rows, f"{key} of {file} is lost"
        if exactly:
            assert rows == 1, f"{key}: {keyed[key]} results, {failed[key]} errors, {page_error} errors of the page"


def check_document(file: File, plan: Plan, rows: list[Row], results: list[Row], failed: Counter) -> None:
    sources = {file.source, row_source(file.source, file.uri)}
    mine = [row for row in results if row["source"] in sources and (row["uri"] == file.uri or file.named)]
    bad = [key for key in failed if key[1] in sources and (key[0] == file.uri or (file.named and "@" in key[1]))]
    if file.named:
        mine = [row for row in mine if row["source"] == row_source(file.source, file.uri)]
    expected = "failed" if not mine else "partial" if bad else "ok"
    assert {row["status"] for row in rows} == {expected}, (file, rows, bad)
    if plan.only_reads or file.is_table or not mine:
        assert len(rows) == 1
        return
    assert sorted(row["record"] for row in rows) == list(range(plan.records))
    for row in rows:
        pages = [one for one in mine if one["record"] == row["record"]]
        if pages:
            assert row["label"] == min(pages, key=lambda one: (-one["score"], one["page"]))["label"]
        else:
            assert row["label"] is None


def check_once(results: list[Row], errors: list[Row], pages: list[Row], documents: list[Row]) -> None:
    """No key twice, whether listed or not; every value is what its key makes it."""
    for rows in (results, errors):
        names = ("uri", "source", "page", "record", "fingerprint")
        assert max(Counter(tuple(row[n] for n in names) for row in rows).values(), default=1) == 1
    names = ("uri", "source", "page", "read_fingerprint")
    assert max(Counter(tuple(row[n] for n in names) for row in pages).values(), default=1) == 1
    names = ("uri", "source", "record", "fingerprint")
    assert max(Counter(tuple(row[n] for n in names) for row in documents).values(), default=1) == 1
    for row in results:
        assert row["label"] == answer(row, row["fingerprint"])[0]
    for row in pages:
        assert row["text"] == digest(row["uri"], row["source"], row["page"], row["read_fingerprint"])
