"""MLflow runs: opened beside the output, filled, closed whatever happens, never with a secret in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.tracking import Inputs, Tracking, attach
from jobs.tracking_store import redact, store_for
from stages.columns import schema
from stages.errors import UsageError


@pytest.fixture
def own_store(monkeypatch) -> None:
    """No MLFLOW_TRACKING_URI: the default store is used."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def listed(*uris: str) -> pa.Table:
    columns = [list(uris), [f"{len(uri)}-1" for uri in uris], [10] * len(uris)]
    return pa.table(columns, schema=schema(("uri", "source", "size")))


def run_of(tracking: Tracking) -> mlflow.entities.Run:
    return mlflow.MlflowClient(tracking.store.uri).get_run(tracking.run_id)


# ---- one run


@pytest.mark.usefixtures("own_store")
def test_a_run_is_kept_beside_its_output(tmp_path) -> None:
    output = tmp_path / "out put"
    tracking = Tracking.start_async("run", output=str(output), name="text")
    tracking.params({"render.dpi": 300, "input": "s3://key:secret@bucket/x", **{f"p{i}": i for i in range(150)}})
    tracking.metrics({"pages_ok": 1})
    tracking.metrics({"pages_ok": 3, "errors/corrupt": 2}, last=True)
    inputs = Inputs()
    inputs.add(listed("a.pdf", "b.pdf"))
    tracking.inputs(["/data/in"], inputs)
    tracking.artifact("record.json", b"{}")
    (tmp_path / "page.html").write_text("<p>")
    tracking.artifact("report/index.html", tmp_path / "page.html")
    tracking.close("finished")
    tracking.close("failed")  # only the first counts

    assert sorted(path.name for path in (output / "mlflow").iterdir()) == ["artifacts", "mlflow.db"]
    run, client = run_of(tracking), mlflow.MlflowClient(tracking.store.uri)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "text"
    assert run.data.params["render.dpi"] == "300"
    assert run.data.params["input"] == "s3://***@bucket/x"
    assert len(run.data.params) == 152
    assert run.data.metrics == {"pages_ok": 3.0, "errors/corrupt": 2.0}
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("in", inputs.digest)
    assert '"documents": 2' in dataset.profile
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["record.json", "report"]
    assert Path(client.download_artifacts(run.info.run_id, "report/index.html")).read_text() == "<p>"


@pytest.mark.parametrize(("status", "told"), [("finished", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED")])
def test_how_a_run_ends(tmp_path, status: str, told: str) -> None:
    tracking = Tracking.start("run", output=str(tmp_path), name="x")
    assert run_of(tracking).info.status == "RUNNING"
    tracking.close(status)
    assert run_of(tracking).info.status == told


def test_a_file_can_be_added_to_a_run_that_is_over(tmp_path) -> None:
    tracking = Tracking.start("run", output=str(tmp_path), name="x")
    tracking.close("finished")
    (tmp_path / "index.html").write_text("<p>")
    assert attach(str(tmp_path), tracking.run_id, "report", tmp_path / "index.html")
    assert not attach(str(tmp_path), "0" * 32, "report", tmp_path / "index.html")
    found = mlflow.MlflowClient(tracking.store.uri).list_artifacts(tracking.run_id, "report")
    assert [one.path for one in found] == ["report/index.html"]


def test_points_that_the_store_is_too_slow_for_are_left_out_but_not_the_last(tmp_path) -> None:
    tracking = Tracking.start("run", output=str(tmp_path), name="x")
    for value in range(200):
        tracking.metrics({"pages_ok": value})
    tracking.metrics({"pages_ok": 999}, last=True)
    tracking.close("finished")
    history = mlflow.MlflowClient(tracking.store.uri).get_metric_history(tracking.run_id, "pages_ok")
    assert len(history) < 200
    assert max(one.value for one in history) == 999


# ---- the store


def test_the_tracking_uri_of_the_environment_goes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    assert store_for(str(tmp_path)).uri == "http://tracking.example"


@pytest.mark.usefixtures("own_store")
def test_an_output_on_s3_is_tracked_in_the_working_folder_and_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_for("s3://bucket/out")
    assert store.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert str(tmp_path / "mlflow.db") in store.notice
    assert store_for(f"file://{tmp_path}/a%20b").uri == f"sqlite:///{tmp_path}/a b/mlflow/mlflow.db"


def test_a_store_that_cannot_be_had_ends_the_run_before_it_starts(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    (tmp_path / "file").write_text("in the way")
    tracking = Tracking.start_async("run", output=str(tmp_path), name="x")
    with pytest.raises(UsageError, match="set MLFLOW_TRACKING_URI"):
        assert tracking.run_id
    tracking.close("failed")


def test_a_store_that_is_no_database(tmp_path, monkeypatch) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 1000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(UsageError, match="cannot be used"):
        Tracking.start("run", output=str(tmp_path), name="x")


def test_a_store_of_a_kind_that_mlflow_does_not_know(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://somewhere")
    with pytest.raises(UsageError, match="cannot be used"):
        Tracking.start("run", output=str(tmp_path), name="x")


def test_a_server_that_does_not_answer_ends_the_run_before_it_starts(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracking = Tracking.start_async("run", output=str(tmp_path), name="x")
    with pytest.raises(UsageError, match=r"MLflow store http://\*\*\*@127\.0\.0\.1:9 cannot be used") as caught:
        assert tracking.run_id
    assert "secret" not in str(caught.value)
    tracking.close("failed")


def test_a_store_that_goes_away_is_told_once_and_does_not_end_the_run(tmp_path, caplog) -> None:
    caplog.set_level("WARNING")  # a command run with --quiet before, in this process, leaves it at ERROR
    tracking = Tracking.start("run", output=str(tmp_path), name="x")
    tracking.artifact("gone.txt", tmp_path / "gone.txt")
    tracking.artifact("gone.txt", tmp_path / "gone.txt")
    tracking.close("finished")
    assert sum("MLflow misses something" in one.message for one in caplog.records) == 1
    assert run_of(tracking).info.status == "FINISHED"


# ---- never left running

_SCRIPT = """
import sys, time
from jobs.tracking import Tracking
tracking = Tracking.start("run", output=sys.argv[1], name="x")
print(tracking.run_id, flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
raise SystemExit("ended without closing")
"""


def start(output: Path, how: str) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(output), how], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout
    return child, child.stdout.readline().strip()


def test_a_process_that_ends_without_closing_leaves_a_failed_run(tmp_path) -> None:
    child, run_id = start(tmp_path, "end")
    child.communicate(timeout=60)
    client = mlflow.MlflowClient(store_for(str(tmp_path)).uri)
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_killed_process_s_run_is_closed_by_the_next(tmp_path) -> None:
    child, run_id = start(tmp_path, "wait")
    client = mlflow.MlflowClient(store_for(str(tmp_path)).uri)
    other = Tracking.start("run", output=str(tmp_path), name="beside it")
    assert client.get_run(run_id).info.status == "RUNNING"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=60)
    Tracking.start("run", output=str(tmp_path), name="next").close("finished")
    assert client.get_run(run_id).info.status == "KILLED"
    assert run_of(other).info.status == "RUNNING"
    other.close("finished")


# ---- inputs and secrets

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=6)


@given(names, st.data())
def test_a_digest_is_of_the_listing_however_it_comes_in(uris: list[str], data: st.DataObject) -> None:
    whole, cut = Inputs(), Inputs()
    whole.add(listed(*uris))
    at = data.draw(st.integers(0, len(uris)))
    cut.add(listed(*uris[:at]))
    cut.add(listed(*uris).slice(at))
    assert whole.digest == cut.digest
    assert (cut.documents, cut.bytes) == (len(uris), 10 * len(uris))
    other = Inputs()
    other.add(listed(*uris[:-1], uris[-1] + "x"))
    assert other.digest != whole.digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://key:secret@bucket/x", "s3://***@bucket/x"),
        ("https://h/x?X-Amz-Signature=abc&part=1", "https://h/x?X-Amz-Signature=***&part=1"),
        ("https://h/x?a=1&access_token=abc", "https://h/x?a=1&access_token=***"),
        ("postgresql://u:p@h/db", "postgresql://***@h/db"),
        ("a folder/what?.pdf", "a folder/what?.pdf"),
        ("mail@example.com", "mail@example.com"),
    ],
)
def test_secrets_in_uris_are_not_told(text: str, told: str) -> None:
    assert redact(text) == told
