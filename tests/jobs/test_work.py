"""Whatever comes back, in whatever order and however often: what has no receipt is planned again, nothing else is."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.work import DocumentWork, ReuseWork, TableWork, Work
from stages.columns import schema
from stages.tables import TableFile

RECEIPT = schema(("uri", "source", "doc_id", "page", "pages", "record"))


def receipts(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=RECEIPT)


def documents(sizes: dict[str, int], done: dict[str, list[int]]) -> pa.Table:
    rows = [{"uri": uri, "source": "s", "size": 1, "kind": "pdf", "done": done.get(uri, [])} for uri in sizes]
    return pa.Table.from_pylist(rows, schema=schema(("uri", "source", "size", "kind", "done")))


def table_file(rows: int, *, named: bool = False, lines: bool = False) -> TableFile:
    offsets = tuple(range(0, rows, 4096)) if lines else ()
    return TableFile(uri="t.jsonl", source="s", size=1, doc_id="d", rows=rows, columns=(), named=named, offsets=offsets)


sizes = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1)


@settings(deadline=None)
@given(sizes=sizes, records=st.integers(1, 3), block=st.integers(1, 16), data=st.data())
def test_documents_shrink_to_what_has_no_receipt(sizes, records, block, data):
    done = {uri: data.draw(st.lists(st.integers(1, n), unique=True), label=uri) for uri, n in sizes.items()}
    work = DocumentWork(documents=documents(sizes, done), records=records)
    everything = [(u, p, r) for u, n in sizes.items() for p in range(1, n + 1) for r in range(records)]
    todo = [key for key in everything if key[1] not in done[key[0]]]
    arrive = data.draw(st.permutations(todo))[: data.draw(st.integers(0, len(todo)))]
    rows = [{"uri": u, "source": "s", "doc_id": "d", "page": p, "pages": sizes[u], "record": r} for u, p, r in arrive]
    work.receive(receipts(rows * 2))  # a block tried twice answers twice

    planned = {
        (one["uri"], page)
        for table in work.blocks(block)
        for one in table.to_pylist()
        for page in set(range(1, sizes[one["uri"]] + 1)) - set(one["done"])
    }
    wanted = {(u, p) for u, p, r in set(todo) - set(arrive)}
    seen = {u for u, _, _ in arrive}
    # A document of which nothing came back is planned from its own list of done pages, even if that is all of them.
    assert {key for key in planned if key[0] in seen} == {key for key in wanted if key[0] in seen}
    assert wanted <= planned
    assert all(table.num_rows <= block for table in work.blocks(block))
    lost = {(one["uri"], one["page"]) for one in work.lost()}
    assert {key for key in wanted if key[0] in seen} <= lost
    assert {uri for uri, _ in lost} == {u for u in sizes if u not in seen or any(key[0] == u for key in wanted)}


def test_a_document_that_failed_as_a_whole_is_not_planned_again():
    work = DocumentWork(documents=documents({"a": 3}, {}), records=2)
    assert work.missing == 1
    work.receive(receipts([{"uri": "a", "source": "s", "doc_id": None, "page": None, "pages": None, "record": None}]))
    assert work.missing == 0
    assert not list(work.lost())


def test_a_page_that_was_not_read_counts_for_all_its_questions():
    work = DocumentWork(documents=documents({"a": 1}, {}), records=3)
    work.receive(receipts([{"uri": "a", "source": "s", "doc_id": "d", "page": 1, "pages": 1, "record": None}]))
    assert work.missing == 0


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=4), block=st.integers(1, 60), seed=st.integers())
def test_reuse_shrinks_to_what_has_no_receipt(counts, block, seed):
    rows = [
        {
            "part": f"pages/{i}.parquet",
            "rows": list(range(0, 2 * n, 2)),
            "uri": [f"u{i}"] * n,
            "source": ["s"] * n,
            "doc_id": ["d"] * n,
            "page": list(range(1, n + 1)),
        }
        for i, n in enumerate(counts)
    ]
    work: Work = ReuseWork(parts=pa.Table.from_pylist(rows), records=1)
    keys = [(f"u{i}", page) for i, n in enumerate(counts) for page in range(1, n + 1)]
    arrived = set(Random(seed).sample(keys, seed % len(keys)))
    work.receive(
        receipts([{"uri": u, "source": "s", "doc_id": "d", "page": p, "pages": 9, "record": 0} for u, p in arrived])
    )
    planned = {
        (f"u{one['part'][6:-8]}", row // 2 + 1)
        for table in work.blocks(block)
        for one in table.to_pylist()
        for row in one["rows"]
    }
    assert planned == set(keys) - arrived == {(one["uri"], one["page"]) for one in work.lost()}
    assert work.missing == len(planned)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("lines", [False, True])
@settings(deadline=None)
@given(rows=st.integers(1, 9000), block=st.integers(1, 5000), cuts=st.lists(st.integers(0, 8999), max_size=6))
def test_tables_shrink_to_what_has_no_receipt(rows, block, cuts, named, lines):
    edges = sorted({min(cut, rows) for cut in (*cuts, 0, rows)})
    ranges = [(a, b - a) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    work = TableWork(tables=[table_file(rows, named=named, lines=lines)], done=[ranges[:1]])
    source, uri = ("s@t.jsonl", "own") if named else ("s", "t.jsonl")
    for first, count in ranges[1:]:
        work.receive(
            receipts(
                [
                    {"uri": uri, "source": source, "doc_id": "d", "page": 1, "pages": rows, "record": record}
                    for record in range(first, first + count)
                ],
            ),
        )
    wanted = sorted(set(range(rows)) - {i for first, count in ranges for i in range(first, first + count)})
    slices = [one for table in work.blocks(block) for one in table.to_pylist()]
    assert [i for one in slices for i in range(one["first"], one["first"] + one["count"])] == wanted
    assert all(one["count"] <= block for one in slices)
    if lines:  # a slice never crosses a remembered offset, so that reading it scans few lines
        assert all(one["first"] // 4096 == (one["first"] + one["count"] - 1) // 4096 for one in slices)
    assert [one["record"] for one in work.lost()] == wanted
