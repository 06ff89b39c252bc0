"""``jobs.run`` on a real Ray: every document accounted for, nothing done twice, readers see what is current."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import run
from jobs.result import Result
from stages import ray_data
from stages.columns import results_schema
from stages.errors import CheckpointError, OutputBusyError, UsageError
from stages.lease import Holder, Lease
from stages.settings import Predict, Render, Settings
from stages.storage import open_storage
from tests import corpus

pytestmark = pytest.mark.usefixtures("ray_local")

SETTINGS = Settings(predict=Predict(dtype="float32"))
RANDOM = {"allow_random_head": True}
BAD = {"broken.pdf": "corrupt", "encrypted.pdf": "password_required", "empty.pdf": "empty"}


def layoutlm(folder, output, tiny, *, task="token-classification", settings=SETTINGS, options=None, **more):
    checkpoint = more.pop("checkpoint", None) or str(tiny("layoutlm", task))
    return run(
        "layoutlm", task, [str(folder)], str(output), checkpoint=checkpoint, settings=settings,
        options={**RANDOM, **(options or {})}, **more,
    )  # fmt: skip


def rows(dataset):
    return sorted(dataset.to_table().to_pylist(), key=lambda row: (row["uri"], row["page"] or 0, row["record"] or 0))


def rows_of_pages(result):
    return sorted(result.pages.to_table().to_pylist(), key=lambda row: (row["uri"], row["page"]))


def names(found):
    return [(Path(row["uri"]).name, row["page"]) for row in found]


@pytest.fixture(scope="module")
def done(tmp_path_factory, ray_local, tiny):
    folder = tmp_path_factory.mktemp("done")
    files = corpus.corpus(folder / "in")
    return files, folder / "out", layoutlm(files, folder / "out", tiny)


@dataclass(frozen=True)
class Read:
    files: Path
    output: Path
    result: Result
    streams: int


@pytest.fixture(scope="module")
def read(tmp_path_factory, ray_local):
    """A corpus read without a model: named file by file, and from where Ray's workers do not stand."""
    folder = tmp_path_factory.mktemp("read")
    files = corpus.corpus(folder / "in")
    streams = []
    start = ray_data.stream
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(ray_data, "stream", lambda *given, **more: streams.append(given) or start(*given, **more))
        result = run("text", None, [f"in/{one.name}" for one in sorted(files.iterdir())], "out")
    return Read(files, folder / "out", result, len(streams))


def test_a_relative_output_is_one_folder_for_workers_that_stand_elsewhere(read):
    assert read.result.exit_code == 3
    found = {Path(row["uri"]).name for row in rows_of_pages(read.result)} | set(BAD)
    assert found == {one.name for one in read.files.iterdir()}
    assert list((read.output / "pages").glob("*.parquet"))


def test_many_inputs_share_their_processes(read):
    assert read.result.record.documents.listed == len(list(read.files.iterdir()))
    assert read.streams == 1


def test_every_document_is_in_the_results_or_in_the_error_table(done):
    _, output, result = done
    assert result.exit_code == 3
    counts = result.record.documents
    assert (counts.listed, counts.ok, counts.partial, counts.failed, counts.skipped) == (6, 3, 0, 3, 0)
    assert (result.record.pages.ok, result.record.pages.text_layer, result.record.pages.ocr) == (5, 4, 1)
    assert names(rows(result.rows)) == [("one.pdf", 1), ("scan.png", 1), *(("three.pdf", p) for p in (1, 2, 3))]
    assert {Path(row["uri"]).name: row["code"] for row in rows(result.errors)} == BAD
    assert Counter(row["status"] for row in result.documents.to_table().to_pylist()) == {"ok": 3, "failed": 3}
    record = json.loads((output / "runs" / f"{result.record.run_id}.json").read_text())
    told = {"listed": 6, "ok": 3, "partial": 0, "failed": 3, "skipped": 0, "removed": 0, "new": 6, "retried": 0}
    assert record["documents"] == told
    assert record["status"] == "finished"


def test_rows_have_the_declared_types_and_are_signed(done):
    _, output, result = done
    from pipelines import task

    expected = results_schema(task("layoutlm", "token-classification").writes)
    for path in (output / "results").glob("*.parquet"):
        assert pq.read_schema(path).remove_metadata().equals(expected.remove_metadata())
    for row in rows(result.rows):
        assert (row["run_id"], row["fingerprint"]) == (result.record.run_id, result.record.fingerprint)
        assert len(row["words"]) == len(row["boxes"]) == len(row["word_labels"]) > 5
        assert row["pages"] == (3 if "three" in row["uri"] else 1)
    assert "beta page 2 of 3" in " ".join(rows(result.rows)[3]["words"])


def test_results_load_as_a_hugging_face_dataset(done):
    from datasets import load_dataset

    _, output, _ = done
    files = [str(path) for path in (output / "results").glob("*.parquet")]
    loaded = load_dataset("parquet", data_files=files, split="train", cache_dir=str(output.parent / "hf"))
    assert len(loaded) == 5


def test_the_mlflow_run_is_closed_and_holds_the_record(done):
    from mlflow import MlflowClient

    _, _, result = done
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    tracked = client.get_run(result.record.run_id)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["task"] == "token-classification"
    assert tracked.data.metrics["pages_ok"] == 5
    assert {one.path for one in client.list_artifacts(result.record.run_id)} >= {"record.json", "errors.csv"}


def test_the_same_again_does_nothing(done, tiny):
    files, output, first = done
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*.parquet")}
    again = layoutlm(files, output, tiny)
    assert (again.record.documents.skipped, again.record.pages.ok, again.exit_code) == (6, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/*.parquet")} == before
    assert first.record.fingerprint == again.record.fingerprint


def test_files_come_change_and_go(tmp_path, tiny):
    files, output = corpus.corpus(tmp_path / "in"), tmp_path / "out"
    layoutlm(files, output, tiny)
    corpus.pdf(files / "new.pdf", 2, "gamma")
    corpus.pdf(files / "three.pdf", 2, "changed")
    os.utime(files / "three.pdf", ns=(1, 1))
    (files / "one.pdf").unlink()
    second = layoutlm(files, output, tiny)
    assert (second.record.pages.ok, second.record.documents.skipped) == (4, 4)
    found = rows(second.rows)
    expected = [("new.pdf", 1), ("new.pdf", 2), ("one.pdf", 1), ("scan.png", 1), ("three.pdf", 1), ("three.pdf", 2)]
    assert names(found) == expected  # of three.pdf only what is current; one.pdf stays although it is gone
    assert all("changed" in row["words"] for row in found if "three" in row["uri"])
    third = layoutlm(files, output, tiny, prune=True)
    assert third.record.documents.removed == 1
    assert names(rows(third.rows)) == [one for one in expected if one[0] != "one.pdf"]


def test_failures_are_tried_again_when_asked(read, tmp_path):
    output = shutil.copytree(read.output, tmp_path / "out")
    again = run("text", None, [str(read.files)], str(output), retry=["corrupt"])
    assert (again.record.documents.failed, again.record.documents.skipped, again.exit_code) == (1, 5, 3)
    attempts = {row["code"]: row["attempts"] for row in rows(again.errors)}
    assert attempts == {"corrupt": 2, "password_required": 1, "empty": 1}


def test_a_new_checkpoint_reuses_pages_and_new_settings_do_not(done, tmp_path, tiny):
    files, output = done[0], shutil.copytree(done[1], tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(tiny("layoutlm", "token-classification"), other)
    (other / "README.md").write_text("another checkpoint by content")
    from safetensors.torch import load_file, save_file

    weights = load_file(other / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, other / "model.safetensors", {"format": "pt"})
    second = layoutlm(files, output, tiny, checkpoint=str(other))
    assert (second.record.pages.ok, second.record.pages.reused) == (5, 5)
    assert (second.record.pages.ocr, second.record.pages.text_layer) == (0, 0)
    assert not second.record.stage_seconds.get("read")
    assert len(rows_of_pages(second)) == len(rows(second.rows)) == 5
    assert {row["checkpoint"] for row in rows(second.rows)} == {str(other)}
    third = layoutlm(files, output, tiny, settings=Settings(render=Render(dpi=200), predict=SETTINGS.predict))
    assert (third.record.pages.ok, third.record.pages.reused) == (5, 0)
    assert len(rows(third.rows)) == 5


def test_questions_are_answered_a_page_and_a_document(tmp_path, tiny):
    files, output = corpus.corpus(tmp_path / "in"), tmp_path / "out"
    asked = {"questions": ["What is the total?", "Which date?"]}
    result = layoutlm(files, output, tiny, task="document-question-answering", options=asked)
    found = rows(result.rows)
    assert [(Path(r["uri"]).name, r["page"], r["record"]) for r in found if "three" in r["uri"]] == [
        ("three.pdf", page, record) for page in (1, 2, 3) for record in (0, 1)
    ]
    documents = [row for row in result.documents.to_table().to_pylist() if "three" in row["uri"]]
    for row in documents:
        pages = [one for one in found if "three" in one["uri"] and one["record"] == row["record"]]
        best = max(pages, key=lambda one: (one["score"], -one["page"]))
        assert (row["answer"], row["score"]) == (best["answer"], best["score"])
    assert sorted(row["record"] for row in documents) == [0, 1]


def test_reading_alone_needs_no_model_and_serves_every_family(read, tmp_path, tiny):
    record = read.result.record
    assert (record.pages.ok, record.documents.failed) == (5, 3)
    assert names(rows_of_pages(read.result))[0] == ("one.pdf", 1)
    assert run("text", None, [str(read.files)], str(read.output)).record.documents.skipped == 6
    used = layoutlm(read.files, tmp_path / "out", tiny, pages=str(read.output))
    assert (used.record.pages.reused, used.record.pages.ocr, used.record.pages.text_layer) == (5, 0, 0)
    assert not (tmp_path / "out" / "pages").exists()


def test_tables_are_rows_in_rows_out(tmp_path, tiny):
    table = tmp_path / "in" / "texts.jsonl"
    table.parent.mkdir()
    lines = [{"q": {"en": f"text number {i} " + "word " * (i % 40)}} for i in range(600)]
    lines[7] = {"q": {"en": None}}
    table.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no json\n")
    checkpoint = str(tiny("bert", "text-classification"))
    call = ("bert", "text-classification", [str(table)], str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"no column 'text'.*it has: q.*--map text="):
        run(*call, checkpoint=checkpoint, settings=SETTINGS, options=RANDOM)
    result = run(*call, checkpoint=checkpoint, settings=SETTINGS, options=RANDOM, columns={"text": "q.en"})
    assert (result.record.pages.ok, result.record.pages.failed) == (599, 2)
    assert [row["record"] for row in rows(result.rows)] == [i for i in range(600) if i != 7]
    assert {row["record"]: row["code"] for row in rows(result.errors)} == {7: "encode_failed", 600: "decode_failed"}
    assert [row["status"] for row in result.documents.to_table().to_pylist()] == ["partial"]
    again = run(*call, checkpoint=checkpoint, settings=SETTINGS, options=RANDOM, columns={"text": "q.en"})
    assert (again.record.documents.skipped, again.record.pages.ok) == (1, 0)


def test_a_limit_takes_some_now_and_the_rest_later(tmp_path):
    files, output = corpus.corpus(tmp_path / "in"), tmp_path / "out"
    first = run("text", None, [str(files)], str(output), limit=2)
    assert first.record.documents.listed == 2
    second = run("text", None, [str(files)], str(output))
    assert (second.record.documents.listed, second.record.documents.skipped) == (6, 2)
    assert len(rows_of_pages(second)) == 5


def test_a_second_run_on_the_same_output_is_refused(tmp_path, tiny):
    storage = open_storage(str(tmp_path / "out"))
    with Lease(storage, Holder.me("the first")), pytest.raises(OutputBusyError, match="the first"):
        layoutlm(corpus.corpus(tmp_path / "in"), tmp_path / "out", tiny)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "layoutml"}, "did you mean 'layoutlm'"),
        ({"task": "token-clasification"}, "did you mean 'token-classification'"),
        ({"task": None}, "which task"),
        ({"inputs": ["/nowhere/at/all"]}, "/nowhere/at/all"),
        ({"inputs": []}, "no input"),
        ({"retry": ["corrupted"]}, "no code 'corrupted'"),
        ({"options": {"strid": 5}}, "stride"),
    ],
)
def test_what_cannot_work_is_told_before_anything_starts(tmp_path, tiny, change, message):
    call = {
        "family": "layoutlm", "task": "token-classification",
        "inputs": [str(tmp_path)], "output": str(tmp_path / "out"),
        "checkpoint": str(tiny("layoutlm", "token-classification")), "options": RANDOM, **change,
    }  # fmt: skip
    with pytest.raises(UsageError, match=message):
        run(**call)
    assert not (tmp_path / "out" / "results").exists()


def test_a_checkpoint_that_cannot_be_had_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="no-such/model"):
        run("layoutlm", "features", [str(tmp_path)], str(tmp_path / "out"), checkpoint="no-such/model@main")


def test_an_output_of_another_task_is_refused(done, tiny):
    files, output, _ = done
    with pytest.raises(UsageError, match=r"holds rows of layoutlm token-classification"):
        layoutlm(files, output, tiny, task="features")


def test_the_notebook_view_shows_rows(done):
    html = done[2]._repr_html_()
    assert "one.pdf" in html
    assert isinstance(done[2].rows.to_table(), pa.Table)
