from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.base import OpenStages, Pool, check_plan, failures_column
from stages.columns import COLUMNS, ERRORS, PAGES, results_schema, schema
from stages.errors import Code, Failure, OutputBusyError
from stages.lease import Holder, Lease
from stages.storage import open_storage
from stages.write import RECEIPT, ResultsWriter, RunStamp, WritePages, WriteResults

STAMP = RunStamp(run_id="run", family="f", task="t", checkpoint="c@1", fingerprint="fp", read_fingerprint="rp")
ANSWERS = ("label", "score")


def pages(count: int, failed: frozenset[int] = frozenset(), **more) -> pa.Table:
    names = ("uri", "source", "doc_id", "page", "pages", "width", "height", "words", "boxes", "text", "reader")
    rows = [
        {
            "uri": "a.pdf", "source": "s", "doc_id": "d", "page": page, "pages": count, "width": 10.0, "height": 20.0,
            "words": ["w", "x"], "boxes": [[0, 1, 2, 3], [4, 5, 6, 7]], "text": "w x", "reader": "layer:pdfium",
        }
        for page in range(1, count + 1)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=schema(names))
    failure = Failure(stage="read", code=Code.OCR_TIMEOUT, message="too slow", detail="120 s", attempts=2)
    failures = failures_column([failure if page in failed else None for page in range(1, count + 1)])
    table = table.append_column("failure", failures)
    for name, values in more.items():
        table = table.append_column(name, values)
    return table


def answered(count: int, failed: frozenset[int] = frozenset()) -> pa.Table:
    return pages(
        count,
        failed,
        label=pa.array([f"l{i}" for i in range(count)]),
        score=pa.array([0.5] * count, pa.float32()),
    )


def run(stages, table: pa.Table) -> pa.Table:
    opened = OpenStages(stages)
    out = pa.concat_tables(opened(table), promote_options="default")
    opened.close()
    return out


def read(folder) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def test_pages_are_committed_and_passed_on(tmp_path):
    table = pages(3, frozenset({2}))
    out = run([WritePages(output=str(tmp_path), run=STAMP)], table)
    assert sorted(out["page"].to_pylist()) == [1, 2, 3]
    assert set(out.column_names) == {*table.column_names, "seconds:write_pages"}
    (part,) = (tmp_path / "pages").glob("*.parquet")
    stored = pq.read_table(part)
    assert stored.schema.equals(schema(PAGES), check_metadata=False)
    assert stored["page"].to_pylist() == [1, 3]
    assert set(stored["read_fingerprint"].to_pylist()) == {"rp"}
    assert datetime.now(UTC) - stored["at"][0].as_py() < timedelta(minutes=1)
    assert stored["words"][0].as_py() == ["w", "x"]


def test_results_and_errors_and_receipts(tmp_path):
    table = answered(4, frozenset({3})).append_column("seconds:read", pa.array([1.5] * 4, pa.float32()))
    table = table.append_column("image", pa.array([b"big"] * 4))
    receipts = run([WriteResults(output=str(tmp_path), run=STAMP, answers=ANSWERS)], table)
    assert set(receipts.column_names) == {*RECEIPT, "seconds:read", "seconds:write"}
    rows = {row["page"]: row for row in receipts.to_pylist()}
    assert [rows[page]["ok"] for page in (1, 2, 3, 4)] == [True, True, False, True]
    assert (rows[3]["code"], rows[1]["code"]) == ("ocr_timeout", None)
    assert (rows[3]["record"], rows[1]["record"]) == (None, 0)
    assert {row["pages"] for row in rows.values()} == {4}
    assert rows[1]["seconds:read"] == 1.5

    stored = read(tmp_path / "results")
    assert stored.schema.equals(results_schema(ANSWERS), check_metadata=False)
    assert stored["label"].to_pylist() == ["l0", "l1", "l3"]
    assert (tmp_path / rows[1]["part"]).exists()
    assert set(stored["checkpoint"].to_pylist()) == {"c@1"}
    errors = read(tmp_path / "errors")
    assert errors.schema.equals(schema(ERRORS), check_metadata=False)
    (error,) = errors.to_pylist()
    expected = {"uri": "a.pdf", "page": 3, "record": None, "stage": "read", "code": "ocr_timeout", "attempts": 2}
    assert {name: error[name] for name in expected} == expected
    assert error["message"] == "too slow"
    about = pq.read_schema(tmp_path / rows[1]["part"]).metadata
    assert (about[b"manta.run_id"], about[b"manta.family"], about[b"manta.fingerprint"]) == (b"run", b"f", b"fp")


def test_doing_it_again_overwrites(tmp_path):
    for order in ([0, 1, 2], [2, 0, 1]):
        run([WriteResults(output=str(tmp_path), run=STAMP, answers=ANSWERS)], answered(3).take(order))
    assert len(list((tmp_path / "results").iterdir())) == 1
    assert sorted(read(tmp_path / "results")["page"].to_pylist()) == [1, 2, 3]


def test_a_run_that_only_reads_commits_failures_only(tmp_path):
    receipts = run([WriteResults(output=str(tmp_path), run=STAMP, answers=())], pages(2, frozenset({2})))
    rows = {row["page"]: row for row in receipts.to_pylist()}
    assert (rows[1]["part"], rows[1]["ok"]) == ("", True)
    assert rows[2]["part"].startswith("errors/")
    assert not (tmp_path / "results").exists()


def test_a_document_that_failed_as_a_whole_and_a_text_without_a_page(tmp_path):
    table = answered(2, frozenset({2}))
    at = table.schema.get_field_index("page")
    table = table.set_column(at, "page", pa.array([None, None], pa.int32()))
    receipts = run([WriteResults(output=str(tmp_path), run=STAMP, answers=ANSWERS)], table)
    assert sorted(receipts["page"].to_pylist(), key=str) == [1, None]
    assert read(tmp_path / "results")["page"].to_pylist() == [1]
    assert read(tmp_path / "errors")["page"].to_pylist() == [None]


def test_a_column_of_another_type_is_a_bug_and_nothing_is_written(tmp_path):
    table = pages(1, label=pa.array([1]), score=pa.array([0.5], pa.float32()))
    with pytest.raises(TypeError, match="column label is int64, declared as string"):
        run([WriteResults(output=str(tmp_path), run=STAMP, answers=ANSWERS)], table)
    assert not (tmp_path / "results").exists()


def test_the_plan_of_reading_and_writing_is_possible(tmp_path):
    stages = (
        WritePages(output=str(tmp_path), run=STAMP),
        WriteResults(output=str(tmp_path), run=STAMP, answers=()),
    )
    made = (*stages[0].reads, "failure")
    assert set(check_plan(made, [Pool(stages=stages)])) == set(RECEIPT)
    assert set(RECEIPT) <= set(COLUMNS)


def test_writers_stop_once_the_lease_is_lost(tmp_path):
    store = open_storage(str(tmp_path))
    lease = Lease(store, Holder.me("one"))
    lease.acquire()
    stamp = RunStamp(**{**vars(STAMP), "fence": lease.name})
    assert list(ResultsWriter(store, stamp, ANSWERS)(answered(1)))
    Lease(store, Holder.me("two"), is_dead=lambda _: True).acquire()
    with pytest.raises(OutputBusyError):
        list(ResultsWriter(store, stamp, ANSWERS)(answered(1)))


def test_results_load_as_a_dataset(tmp_path):
    import datasets

    run([WriteResults(output=str(tmp_path), run=STAMP, answers=ANSWERS)], answered(3))
    (tmp_path / "results" / ".half.1.tmp").write_bytes(b"half")
    files = str(tmp_path / "results" / "*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded["label"][:] == ["l0", "l1", "l2"]
    assert pa.dataset.dataset(tmp_path / "results").count_rows() == 3
