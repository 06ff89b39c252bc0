"""What the ledger says against a plain model of the contract, over random contents of an output."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.columns import ERRORS, PAGES, documents_schema, results_schema, schema
from stages.errors import Code
from stages.keys import row_source
from stages.ledger import Ledger
from stages.listing import LISTED, kind_of
from stages.parts import DOCUMENT_KEY, PAGE_KEY, RESULT_KEY, RunStamp, commit
from tests.stages.simulated import MemoryStorage

STAMP = RunStamp(run_id="r", family="f", task="t", checkpoint="c", fingerprint="fp", read_fingerprint="rp")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHAPES = {
    "pages": (schema(PAGES), PAGE_KEY),
    "results": (results_schema(()), RESULT_KEY),
    "errors": (schema(ERRORS), RESULT_KEY),
    "documents": (documents_schema(()), DOCUMENT_KEY),
}
DEFAULTS = {
    "uri": "a.pdf", "source": "s", "fingerprint": "fp", "read_fingerprint": "rp", "run_id": "r", "at": NOW,
    "code": "corrupt", "attempts": 1, "doc_id": "d",
}  # fmt: skip


def put(store: MemoryStorage, folder: str, rows: list[dict[str, object]], cut: int = 100) -> list[dict[str, object]]:
    """Commits the rows, ``cut`` a part, and returns those that stay: parts with the same keys replace each other."""
    shape, key = SHAPES[folder]
    left: dict[str, list[dict[str, object]]] = {}
    for start in range(0, len(rows), cut):
        some = rows[start : start + cut]
        part = [{name: ({**DEFAULTS, **row}).get(name) for name in shape.names} for row in some]
        left[commit(store, folder, pa.Table.from_pylist(part, schema=shape), shape, key, STAMP)] = some
    return [row for some in left.values() for row in some]


def load(store: MemoryStorage, records: int = 1, **options) -> Ledger:
    return Ledger.load(store, fingerprint="fp", **{"read_fingerprint": "rp", "records_per_page": records, **options})


def listed(*documents: tuple[str, str]) -> pa.Table:
    rows = [{"uri": uri, "source": source, "size": 1, "kind": kind_of(uri)} for uri, source in documents]
    return pa.Table.from_pylist(rows, schema=LISTED)


NAMES = st.sampled_from(["a.pdf", "b.pdf", "c.png"])
ROW = st.fixed_dictionaries({"uri": NAMES, "source": st.sampled_from(["s", "old"]), "page": st.integers(1, 3)})
ANSWERED = st.fixed_dictionaries({"fingerprint": st.sampled_from(["fp", "fp", "other"]), "record": st.integers(0, 1)})
LENGTHS = {"a.pdf": 1, "b.pdf": 2, "c.png": 3}


def merged(*strategies):
    return st.tuples(*strategies).map(lambda parts: {k: v for part in parts for k, v in part.items()})


FAILED = {"uri": "a.pdf", "source": "s", "page": None, "record": None, "fingerprint": "fp"}


@settings(max_examples=150, deadline=None)
@example(
    results=[],
    errors=[{**FAILED, "code": "corrupt"}, {**FAILED, "code": "ocr_timeout"}],
    pages=[],
    documents=[],
    records=1,
    retry=frozenset({Code.OCR_TIMEOUT}),
    cut=1,
)
@given(
    results=st.lists(merged(ROW, ANSWERED), max_size=12),
    errors=st.lists(
        merged(
            ROW,
            st.fixed_dictionaries(
                {
                    "page": st.sampled_from([None, 1, 2, 3]),
                    "record": st.sampled_from([None, 0, 1]),
                    "code": st.sampled_from(["corrupt", "ocr_timeout"]),
                    "fingerprint": st.sampled_from(["fp", "other"]),
                }
            ),
        ),
        max_size=5,
    ),
    pages=st.lists(merged(ROW, st.fixed_dictionaries({"read_fingerprint": st.sampled_from(["rp", "x"])})), max_size=6),
    documents=st.lists(merged(ROW, ANSWERED), max_size=2),
    records=st.integers(1, 2),
    retry=st.sampled_from([frozenset(), frozenset({Code.OCR_TIMEOUT})]),
    cut=st.integers(1, 4),
)
def test_the_ledger_agrees_with_a_plain_model(results, errors, pages, documents, records, retry, cut):
    results = [{**row, "pages": LENGTHS[row["uri"]]} for row in results if row["page"] <= LENGTHS[row["uri"]]]
    results = [row for row in results if row["record"] < records]
    pages = [{**row, "pages": LENGTHS[row["uri"]]} for row in pages if row["page"] <= LENGTHS[row["uri"]]]
    errors = [row for row in errors if row["page"] is None or row["page"] <= LENGTHS[row["uri"]]]
    errors = [
        {**row, "record": None} if row["page"] is None or (row["record"] or 0) >= records else row for row in errors
    ]
    store = MemoryStorage()
    given_ = (("results", results), ("errors", errors), ("pages", pages), ("documents", documents))
    results, errors, pages, documents = (put(store, folder, rows, cut) for folder, rows in given_)
    ledger = load(store, records, retry=retry)
    table = listed(*((uri, "s") for uri in LENGTHS))
    todo = {row["uri"]: row["done"] for row in ledger.todo(table).to_pylist()}
    reusable = sorted(
        (uri, page)
        for one in ledger.reusable()
        for row in one.to_pylist()
        for uri, page in zip(row["uri"], row["page"], strict=True)
    )

    expected: dict[str, list[int]] = {}
    reuse: list[tuple[str, int]] = []
    skipped = unfolded = 0
    for uri, length in LENGTHS.items():
        mine = {
            folder: [row for row in rows if (row["uri"], row["source"]) == (uri, "s")]
            for folder, rows in (("r", results), ("e", errors), ("p", pages), ("d", documents))
        }
        failed = [row for row in mine["e"] if row["fingerprint"] == "fp"]
        again = [row for row in failed if row["code"] in retry]
        failed = [row for row in failed if row["code"] not in retry]
        if any(row["fingerprint"] == "fp" for row in mine["d"]) and not again:
            skipped += 1
            continue
        told = {(row["page"], row["record"]) for row in mine["r"] if row["fingerprint"] == "fp"}
        told |= {(row["page"], row["record"]) for row in failed}
        done = {
            page
            for page in range(1, length + 1)
            if (page, None) in told or all((page, record) in told for record in range(records))
        }
        read = {row["page"] for row in mine["p"] if row["read_fingerprint"] == "rp"}
        knows = bool(read) or any(row["fingerprint"] == "fp" for row in mine["r"])
        if (None, None) in told or (knows and len(done) == length):
            unfolded += 1
            continue
        reuse += [(uri, page) for page in read - done]
        ready = sorted(done | read)
        if knows and len(ready) == length:
            continue
        expected[uri] = ready if knows else ready[:-1]
    assert todo == expected
    assert reusable == sorted(reuse)
    assert (ledger.skipped, len(ledger.unfolded()), ledger.listed) == (skipped, unfolded, 3)


def test_rows_of_tables_with_and_without_their_own_uris():
    store = MemoryStorage()
    rows = [{"uri": f"row{i}", "source": row_source("s", "t.jsonl"), "record": i} for i in (0, 2)]
    put(store, "results", [{**row, "page": 1, "pages": 4} for row in rows])
    put(store, "errors", [{"uri": "row3", "source": row_source("s", "t.jsonl"), "page": 1, "record": 3}])
    put(store, "results", [{"uri": "u.parquet", "page": 1, "pages": 2, "record": i} for i in (0, 1)])
    ledger = load(store)
    todo = ledger.todo(listed(("t.jsonl", "s"), ("u.parquet", "s"), ("v.parquet", "s")))
    assert todo["uri"].to_pylist() == ["t.jsonl", "v.parquet"]
    assert todo["done"].to_pylist() == [[], []]
    assert ledger.done_records("t.jsonl", "s").tolist() == [0, 2, 3]
    assert ledger.done_records("t.jsonl", "newer").tolist() == []
    assert len(ledger.unfolded()) == 1


def test_reusable_pages_are_the_newest_and_named_by_part_and_row():
    store = MemoryStorage()
    older = [{"page": page, "pages": 3, "at": datetime(2025, 1, 1, tzinfo=UTC)} for page in (1, 2)]
    put(store, "pages", older)
    put(store, "pages", [{"page": page, "pages": 3} for page in (3, 2)])
    put(store, "results", [{"page": 3, "pages": 3, "record": 0}])
    ledger = load(store)
    assert not ledger.todo(listed(("a.pdf", "s"))).num_rows  # nothing is left to read
    parts = [row for table in ledger.reusable() for row in table.to_pylist()]
    found = {}
    for one in parts:
        with store.open_input(one["part"]) as file:
            rows = pa.parquet.read_table(file).take(one["rows"]).to_pylist()
        assert [row["page"] for row in rows] == one["page"]
        assert [row["uri"] for row in rows] == one["uri"]
        found |= {row["page"]: row["at"] for row in rows}
    assert found == {1: older[0]["at"], 2: NOW}


def test_first_open_rows_for_a_limit():
    store = MemoryStorage()
    put(store, "documents", [{"uri": "b.pdf"}])
    ledger = load(store)
    table = listed(*((f"{name}.pdf", "s") for name in "abcd"))
    assert ledger.first_open(table, 2)["uri"].to_pylist() == ["a.pdf", "b.pdf", "c.pdf"]
    assert ledger.first_open(table, 9).num_rows == 4
    assert ledger.todo(ledger.first_open(table, 1))["uri"].to_pylist() == ["a.pdf"]
    assert ledger.listed - ledger.skipped == 1


def test_pages_kept_elsewhere_and_a_run_that_only_reads():
    store, shared = MemoryStorage(), MemoryStorage()
    put(shared, "pages", [{"page": page, "pages": 2} for page in (1, 2)])
    ledger = load(store, pages=shared)
    assert not ledger.todo(listed(("a.pdf", "s"))).num_rows
    assert sum(len(row) for table in ledger.reusable() for row in table["rows"].to_pylist()) == 2
    reading = Ledger.load(store, fingerprint="rp", read_fingerprint="rp", records_per_page=1, pages=shared)
    assert not reading.todo(listed(("a.pdf", "s"))).num_rows
    assert not list(reading.reusable())
    assert len(reading.unfolded()) == 1


def test_planning_around_many_finished_files_is_quick_and_small():
    """A hundredth of five million, with marks that leave room for a busy machine; the bench measures all of them."""
    import time
    import tracemalloc

    count = 50_000
    store = MemoryStorage()
    uris, sources = [f"s3://b/{i:08d}.pdf" for i in range(count)], [f"{i:032x}" for i in range(count)]
    shape, key = SHAPES["documents"]
    columns = {"uri": pa.array(uris), "source": pa.array(sources), "fingerprint": pa.repeat("fp", count)}
    table = pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in shape], schema=shape)
    commit(store, "documents", table, shape, key, STAMP)
    names = pa.table([pa.array(uris), pa.array(sources), pa.array([1] * count), pa.repeat("pdf", count)], schema=LISTED)
    load(store).todo(names.slice(0, 10))  # imports
    tracemalloc.start()
    ledger = load(store)
    tracemalloc.reset_peak()
    started = time.process_time()
    assert not ledger.todo(names).num_rows
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ledger.skipped == count
    assert seconds < 3
    assert peak < 400 * count


def test_nothing_is_read_again_of_parts_that_a_finished_run_left_in_order():
    from stages.settled import Settled

    store = MemoryStorage()
    put(store, "documents", [{}])
    put(store, "results", [{"page": 1, "pages": 1, "record": 0}])
    parts = {entry.name: entry.version for folder in ("documents/", "results/") for entry in store.list(folder)}
    Settled(fingerprint="fp", read_fingerprint="rp", pages=store.uri, parts=parts).save(store)
    opened: list[str] = []
    real = store.open_input
    with mock.patch.object(store, "open_input", lambda name, size=None: opened.append(name) or real(name, size)):
        load(store)
        assert [name.split("/")[0] for name in opened] == ["documents"]
        put(store, "results", [{"uri": "b.pdf", "page": 1, "pages": 1, "record": 0}])
        load(store)
        assert [name.split("/")[0] for name in opened[1:]] == ["documents", "results"]
        opened.clear()
        load(store, read_fingerprint="another")
        assert len(opened) == 3


def test_a_row_of_a_run_that_lost_its_lease_is_looked_at():
    from stages.lease import Holder, Lease

    store = MemoryStorage()
    Lease(store, Holder.me("late"), clock=lambda: 0.0).acquire()
    taking = Lease(store, Holder.me("next"), is_dead=lambda _: False, wait=lambda _: None)
    taking.acquire()
    put(store, "results", [{"page": 1, "pages": 1, "record": 0}])
    put(store, "documents", [{"run_id": "late"}, {"uri": "b.pdf", "run_id": "late"}, {"uri": "c.png"}])
    ledger = load(store)
    todo = ledger.todo(listed(("a.pdf", "s"), ("b.pdf", "s"), ("c.png", "s")))
    assert todo["uri"].to_pylist() == ["b.pdf"]  # nothing stands behind its row
    assert (ledger.skipped, len(ledger.unfolded())) == (1, 1)


# ---- what is tried again


def errors_of(*attempts: tuple[str, int]) -> MemoryStorage:
    """An output of failed documents: (uri, how often it was tried)."""
    store = MemoryStorage()
    put(store, "errors", [{"uri": uri, "page": None, "attempts": tried} for uri, tried in attempts])
    put(store, "documents", [{"uri": uri, "status": "failed"} for uri, _ in attempts])
    return store


def test_rows_that_failed_often_enough_are_left_alone() -> None:
    store, both = errors_of(("a.pdf", 2), ("b.pdf", 3)), listed(("a.pdf", "s"), ("b.pdf", "s"))
    corrupt = frozenset({Code.CORRUPT})
    for most, expected in {0: ["a.pdf", "b.pdf"], 4: ["a.pdf", "b.pdf"], 3: ["a.pdf"], 2: []}.items():
        ledger = load(store, retry=corrupt, max_attempts=most)
        assert ledger.todo(both)["uri"].to_pylist() == expected
        assert (ledger.retried, ledger.skipped, ledger.new) == (len(expected), 2 - len(expected), 0)
    assert load(store, retry=frozenset({Code.CRASH}), max_attempts=9).todo(both).num_rows == 0


def test_new_and_unfinished_documents_are_told_apart() -> None:
    store = errors_of(("a.pdf", 1))
    put(store, "results", [{"uri": "b.pdf", "page": 1, "pages": 2, "record": 0}])
    ledger = load(store, retry=frozenset({Code.CORRUPT}))
    ledger.todo(listed(("a.pdf", "s"), ("b.pdf", "s"), ("c.png", "s"), ("a.pdf", "changed")))
    assert (ledger.listed, ledger.new, ledger.retried, ledger.skipped) == (4, 2, 1, 0)
