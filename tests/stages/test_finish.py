"""Runs over changing folders: what is done again, what a plain reader sees afterwards, on disk and on S3."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from stages import clean as clean_module
from stages.errors import Code, UsageError
from stages.finish import check_output
from stages.storage import open_storage
from tests.stages.driver import File, Plan, World, stored
from tests.stages.driver import check_output as check_rows
from tests.stages.simulated import MemoryStorage

FILES = (
    File("a.pdf", 1, 3, bad_pages=frozenset({2})),
    File("b.pdf", 1, 1),
    File("broken.pdf", 1, 1, corrupt=True),
    File("t.jsonl", 1, 5, named=True),
    File("u.parquet", 1, 3),
)
PLAN = Plan("one", FILES, "f", "r", 2, seed=1)


def world(store=None) -> World:
    return World(random.Random(0), store if store is not None else MemoryStorage())


def rows(store, folder: str, *names: str) -> list[tuple]:
    return sorted((tuple(row[name] for name in names) for row in stored(store, folder)), key=repr)


def contents(store) -> dict[str, list[tuple]]:
    """All rows but what tells one run from another."""
    own = {"run_id", "at"}
    return {
        folder: sorted(
            (tuple(sorted((k, v) for k, v in row.items() if k not in own)) for row in stored(store, folder)), key=repr
        )
        for folder in ("pages", "results", "errors", "documents")
    }


def test_a_run_then_only_what_is_new_changed_or_gone():
    one = world()
    first = one.run(PLAN)
    check_rows(one.store, PLAN, exactly=True)
    assert dict(first.folding.counts) == {"ok": 3, "partial": 1, "failed": 1}
    assert first.read_pages == 4

    changed = (replace(FILES[1], version=2, pages=2), *FILES[2:], File("new.pdf", 1, 1))  # a.pdf is gone, b.pdf newer
    second = one.run(replace(PLAN, name="two", listed=changed))
    check_rows(one.store, replace(PLAN, listed=changed), exactly=True)
    assert second.read_pages == 3  # two of b.pdf, one of new.pdf
    assert (second.ledger.listed, second.ledger.skipped) == (5, 3)
    assert rows(one.store, "documents", "uri", "source")[0][:2] == ("a.pdf", "v1")  # stays: nobody said --prune
    assert second.finished.removed == {"documents": 2, "results": 2, "errors": 0, "pages": 1}

    third = one.run(replace(PLAN, name="three", listed=changed, prune=True))
    assert third.read_pages == 0
    assert third.finished.pruned == 1
    assert not [row for folder in ("results", "errors", "pages", "documents") for row in stored(one.store, folder)
                if row["uri"] == "a.pdf"]  # fmt: skip


def test_a_new_checkpoint_reads_nothing_again_and_another_language_does():
    one = world()
    one.run(PLAN)
    good = tuple(file for file in FILES if not file.bad_pages and not file.corrupt)
    again = one.run(replace(PLAN, name="two", fingerprint="f2", listed=good))
    assert again.read_pages == 0
    check_rows(one.store, replace(PLAN, fingerprint="f2", listed=good), exactly=True)
    other = one.run(replace(PLAN, name="three", fingerprint="f3", read_fingerprint="r2", listed=good))
    assert other.read_pages == 1
    check_rows(one.store, replace(PLAN, fingerprint="f3", read_fingerprint="r2", listed=good), exactly=True)


def test_text_first_then_a_task_over_what_was_read():
    one = world()
    documents = tuple(file for file in FILES if not file.is_table)
    text = Plan("text", documents, "r", "r", 1, seed=1)
    one.run(text)
    check_rows(one.store, text, exactly=True)
    assert not list(one.store.list("results/"))
    task = one.run(replace(PLAN, name="task"))
    assert task.read_pages == 1  # page 2 of a.pdf, which no reader reads
    check_rows(one.store, PLAN, exactly=True)


def test_errors_are_tried_again_only_when_asked_and_attempts_add_up():
    one = world()
    one.run(PLAN)
    assert one.run(replace(PLAN, name="two")).read_pages == 0
    for attempts in (2, 3):
        driver = one.run(replace(PLAN, name=f"again {attempts}", retry=frozenset({Code.OCR_TIMEOUT})))
        assert driver.read_pages == 1
        assert dict(driver.folding.counts) == {"ok": 0, "partial": 1, "failed": 0}
        ours = [row for row in stored(one.store, "errors") if row["code"] == "ocr_timeout"]
        assert [row["attempts"] for row in ours] == [attempts]
    mended = (replace(FILES[0], bad_pages=frozenset()), *FILES[1:])
    driver = one.run(replace(PLAN, name="mended", listed=mended, retry=frozenset({Code.OCR_TIMEOUT})))
    assert dict(driver.folding.counts) == {"ok": 1, "partial": 0, "failed": 0}
    assert rows(one.store, "errors", "uri") == [("broken.pdf",)]
    check_rows(one.store, replace(PLAN, listed=mended), exactly=True)

    opened = (*mended[:2], replace(mended[2], corrupt=False), *mended[3:])
    driver = one.run(replace(PLAN, name="opened", listed=opened, retry=frozenset({Code.CORRUPT})))
    assert not stored(one.store, "errors")
    check_rows(one.store, replace(PLAN, listed=opened), exactly=True)


def test_small_parts_are_joined_and_say_the_same(monkeypatch):
    many = tuple(File(f"{i:03d}.pdf", 1, 2) for i in range(60))
    plan = replace(PLAN, listed=many, records=1)
    apart, joined = world(), world()
    monkeypatch.setattr(clean_module, "FEWEST", 10**9)
    apart.run(plan)
    monkeypatch.setattr(clean_module, "FEWEST", 8)
    assert joined.run(plan).finished.joined > 20
    assert contents(apart.store) == contents(joined.store)
    assert len(list(joined.store.list("results/"))) == 1
    assert joined.run(replace(plan, name="two")).read_pages == 0


def test_a_run_with_nothing_to_do_writes_nothing():
    one = world()
    one.run(PLAN)
    before = {name: value for name, value in one.store.objects.items() if not name.startswith(".lease/")}
    one.run(replace(PLAN, name="two"))
    assert before == {name: value for name, value in one.store.objects.items() if not name.startswith(".lease/")}


def test_a_part_that_is_written_meanwhile_is_left_alone(monkeypatch):
    """Else a row could go from there for the sake of one that goes elsewhere for its sake."""
    from stages.clean import clean
    from stages.supersede import Folder
    from tests.stages.test_ledger import put

    store = MemoryStorage()
    folder = Folder(storage=store, name="results", signature=("fingerprint", "fp"), by=("page", "record"))
    two = [{"page": page, "pages": 2, "record": 0} for page in (1, 2)]
    put(store, "results", two)
    put(store, "results", [{**two[1], "at": datetime(2026, 1, 2, tzinfo=UTC)}])
    newest = [{**row, "at": datetime(2026, 1, 3, tzinfo=UTC)} for row in two]
    real = store.replace

    def meanwhile(*how):
        put(store, "results", newest)
        return real(*how)

    with monkeypatch.context() as patch:
        patch.setattr(store, "replace", meanwhile)
        assert clean(folder, None).rows == 0
    assert [page for page, _ in rows(store, "results", "page", "at")] == [1, 2, 2]
    assert clean(folder, None).rows == 1
    assert rows(store, "results", "page", "at") == [(row["page"], row["at"]) for row in newest]


def test_pages_shared_by_two_outputs_lose_nothing(tmp_path):
    from stages.finish import Answers, Folding, finish
    from stages.ledger import Ledger
    from stages.write import PagesWriter
    from tests.stages.driver import page_table
    from tests.stages.test_write import STAMP

    shared, output = MemoryStorage(), MemoryStorage()
    mine = [{"uri": "a.pdf", "source": "v1", "doc_id": "d", "page": page, "pages": 2} for page in (1, 2)]
    theirs = [{"uri": "a.pdf", "source": "v0", "doc_id": "d", "page": 1, "pages": 1}]
    for read, batch in (("rp", mine), ("rp", mine[:1]), ("other", mine), ("rp", theirs)):
        list(PagesWriter(shared, replace(STAMP, read_fingerprint=read))(page_table(batch, read)))
    ledger = Ledger.load(output, fingerprint="fp", read_fingerprint="rp", records_per_page=1, pages=shared)
    folding = Folding(output, STAMP, ledger, answers=Answers(), pages=shared)
    finish(output, STAMP, ledger, folding, pages=shared)
    assert rows(shared, "pages", "source", "page", "read_fingerprint") == [
        ("v0", 1, "rp"), ("v1", 1, "other"), ("v1", 1, "rp"), ("v1", 2, "other"), ("v1", 2, "rp"),
    ]  # fmt: skip


def test_an_output_of_another_task_is_refused():
    one = world()
    store = one.store
    check_output(store, "f", "t", ("label", "score"))
    one.run(PLAN)
    check_output(store, "f", "t", ("label", "score"))
    for family, task, answers, told in (
        ("bert", "t", ("label", "score"), "holds rows of f t, not bert t: choose another --output"),
        ("f", "features", ("vector",), "holds rows of f t, not f features"),
        ("text", "text", (), "holds rows of f t, not text text"),
        ("f", "t", ("label",), "holds rows of f t with other columns"),
    ):
        with pytest.raises(UsageError, match=told):
            check_output(store, family, task, answers)
    early = MemoryStorage()
    early.put("runs/1.json", b'{"family": "text", "task": "text"}')
    check_output(early, "f", "t", ("label", "score"))
    early.put("runs/2.json", b'{"family": "bert", "task": "features"}')
    with pytest.raises(UsageError, match="holds rows of bert features, not f t"):
        check_output(early, "f", "t", ("label", "score"))


@pytest.mark.timeout(120)
def test_rows_on_s3_with_faults_are_those_on_disk(tmp_path, s3):
    """Two runs, the second over a changed folder; answers that fail, get lost or come late change nothing."""
    stores = (open_storage(str(tmp_path)), open_storage("s3://corpus/out"))
    changed = (replace(FILES[0], version=2), *FILES[2:])
    for store in stores:
        if store is stores[1]:
            s3.refuses, s3.loses, s3.slow, s3.delay_s = 0.04, 0.04, 0.1, 0.02
        one = world(store)
        one.run(PLAN)
        one.run(replace(PLAN, name="two", listed=changed))
        check_rows(store, replace(PLAN, listed=changed), exactly=True)
    assert s3.injected > 5
    local, remote = (contents(store) for store in stores)
    assert local == remote
    on_disk = ds.dataset(tmp_path / "results").to_table()
    assert on_disk.num_rows == len(local["results"])
    assert isinstance(on_disk, pa.Table)
    assert not list(tmp_path.glob("*/.*.tmp"))
