"""From a training to its name: registered with --register, run and trained further by the name alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipelines.checkpoint import content_of

WORDS = ["good", "bad", "fine", "poor", "great", "awful"]
TinyFolder = Callable[[str, str], Path]
Manta = Callable[..., dict[str, object]]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder, and no MLflow setting at all: the registry is made in it."""
    before = mlflow.get_tracking_uri()  # first: without the variable it would be a file of this folder's
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("MANTA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)
    yield tmp_path
    mlflow.set_tracking_uri(before)


@pytest.fixture
def manta(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Manta:
    """``manta(*words)``: its record, from the command line, in this process."""

    def call(*words: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["manta", *words, "--json", "--quiet"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return dict(json.loads(told.out))

    return call


def table(path: Path, rows: int) -> str:
    words = [["a", WORDS[at % 6], "movie", "number", str(at)] for at in range(rows)]
    labels = [["O", "B-PER" if at % 2 else "B-LOC", "O", "O", "O"] for at in range(rows)]
    pq.write_table(pa.table({"words": words, "labels": labels}), path)
    return str(path)


@pytest.mark.usefixtures("ray_local")
def test_a_training_is_run_by_its_name_alone(registry: Path, manta: Manta, tiny: TinyFolder) -> None:
    data, held_out = table(registry / "train.parquet", 12), table(registry / "test.parquet", 6)
    task = ("bert", "--task", "token-classification")
    settings = ("--workers", "1", "--set", "train.epochs=1", "--set", "train.token_budget=32")
    store = mlflow.MlflowClient()
    store.create_registered_model("start")
    store.create_model_version("start", source=tiny("bert", "token-classification").as_uri())
    store.set_registered_model_alias("start", "champion", "1")

    train = ("train", *task, "--data", data, "--eval-data", held_out, *settings, "--output", "one")
    record = manta(*train, "--checkpoint", "models:/start@champion", "--register", "reader")
    assert record["checkpoint"] == "models:/start/1"
    found = record["registered"]
    assert isinstance(found, dict)
    assert (found["version"], found["champion"]) == ("1", True)
    assert (registry / "mlflow.db").is_file()
    assert not (registry / "one" / "mlflow").exists(), "one store, where others find it"

    run = store.get_run(str(record["mlflow_run_id"]))
    assert run.info.status == "FINISHED"
    assert run.data.tags["manta.registered_version"] == "1"
    digests = {each.tags[0].value: each.dataset.digest for each in run.inputs.dataset_inputs}
    assert digests == {"training": record["data_digest"], "evaluation": record["eval_digest"]}
    assert {"loss", "learning_rate", "eval_entity_f1", "system/cpu_utilization_percentage"} <= set(run.data.metrics)
    artifacts = [one.path for one in store.list_artifacts(run.info.run_id, "evaluation")]
    assert artifacts == ["evaluation/evaluation.json", "evaluation/labels.png"]

    champion = ("--checkpoint", "models:/reader@champion")
    answered = manta("run", *task, "--input", held_out, "--output", str(registry / "out"), *champion)
    assert answered["checkpoint"] == "models:/reader/1"
    rows = pq.read_table(registry / "out" / "results")
    assert rows["checkpoint"].to_pylist() == ["models:/reader/1"] * 6
    assert "`models:/start/1`" in (registry / "one" / "model" / "README.md").read_text()
    assert content_of(registry / "one" / "model") != content_of(tiny("bert", "token-classification"))
