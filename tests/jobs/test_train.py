"""manta train: what is encoded, who gets which batch, and what a training leaves behind."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from training_rows import FAMILY, TASK, described, learnable, page, settings, without_dropout, write

from jobs import train as job
from jobs.train import TrainingError, train
from jobs.training import room
from jobs.training.data import Encoded, Share, Steps
from jobs.training.encode import encode, find_tables
from jobs.training.plan import Plan
from jobs.training.room import wait_for_room
from jobs.training.settings import Train
from stages.errors import UsageError
from stages.predictor import Predictor
from stages.settings import Predict

TinyFolder = Callable[[str, str], Path]


@pytest.fixture
def plain(tiny: TinyFolder, tmp_path: Path) -> Path:
    """The tiny checkpoint without dropout, so that a step does not depend on how it is shared."""
    return without_dropout(tiny(FAMILY, TASK), tmp_path / "plain")


# ---- encoding


@pytest.mark.usefixtures("ray_local")
def test_rows_that_do_not_fit_are_left_out_and_named(plain: Path, tmp_path: Path) -> None:
    rows = [page(["total", "9"]), page(["total", "9"], ["O"]), page(["a"], ["B-NOTHING"]), page(["b"])]
    data = write(tmp_path / "data.parquet", rows)
    refused = encode(find_tables(data, described(plain)), described(plain), str(tmp_path / "out"))
    told = {row: failure.message for _, row, failure in refused}
    assert sorted(told) == [1, 2]
    assert "2 words but 1 labels" in told[1]
    assert "B-NOTHING" in told[2]
    assert len(Encoded(str(tmp_path / "out"))) == 2


@pytest.mark.usefixtures("ray_local")
def test_a_table_without_one_usable_row_is_refused(plain: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", [page(["a"], ["B-NOTHING"])])
    with pytest.raises(UsageError, match=r"no training row can be used; .*row 0: .*B-NOTHING"):
        encode(find_tables(data, described(plain)), described(plain), str(tmp_path / "out"))


@pytest.mark.usefixtures("ray_local")
def test_encoded_rows_are_what_the_task_encodes(plain: Path, tmp_path: Path) -> None:
    rows = [page([f"{n}" for n in range(70)]), *learnable(5, 0)]  # the first takes more than one window of 64
    data, out = write(tmp_path / "data.parquet", rows), str(tmp_path / "out")
    encode(find_tables(data, described(plain)), described(plain), out)
    one = described(plain)
    one.load_processor()
    wanted = [each for row in rows for each in one.encode_labels(row, one.encode(row))]
    encoded = Encoded(out)
    assert len(encoded) == len(wanted) > len(rows)
    for at, example in enumerate(wanted):
        assert encoded.lengths[at] == example.length
        for name, array in example.arrays.items():
            np.testing.assert_array_equal(encoded[at].arrays[name], array)


@pytest.mark.usefixtures("ray_local")
def test_every_rank_gets_its_own_examples_and_all_are_dealt(plain: Path, tmp_path: Path) -> None:
    data, out = write(tmp_path / "data.parquet", learnable(37, 1)), str(tmp_path / "out")
    encode(find_tables(data, described(plain)), described(plain), out)
    encoded = Encoded(out)
    ranks = [Steps(encoded, Share(budget=48, seed=3, rank=rank, world=2)) for rank in range(2)]
    epochs = []
    for epoch in range(2):
        for steps in ranks:
            steps.set_epoch(epoch)
        batches = [list(steps) for steps in ranks]
        assert len(batches[0]) == len(batches[1]) == len(ranks[0])
        assert sorted(key for rank in batches for batch in rank for key in batch) == [(epoch, n) for n in range(37)]
        epochs.append(batches)
    assert epochs[0] != epochs[1]


# ---- training


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


@pytest.mark.usefixtures("ray_local")
def test_a_training_leaves_a_checkpoint_that_answers_and_a_finished_run(plain: Path, tmp_path: Path) -> None:
    # Enough steps that the model has learned it well before the end, whatever the machine's rounding.
    data, held_out = write(tmp_path / "a.parquet", learnable(400, 2)), write(tmp_path / "b.parquet", learnable(16, 3))
    said: list[str] = []
    record = train(
        FAMILY,
        TASK,
        data,
        str(tmp_path / "out"),
        checkpoint=str(plain),
        eval_data=held_out,
        workers=1,
        settings=settings(epochs=8, learning_rate=5e-3),
        say=said.append,
    )
    assert record.metrics["entity_f1"] > 0.8
    assert (record.rows, record.left_out) == (400, 0)
    assert json.loads((tmp_path / "out" / "train.json").read_text())["steps"] == record.steps
    assert any("entity_f1" in line for line in said)

    again = described(Path(record.model))
    answers = Predictor(again, Predict()).open().predict(learnable(16, 3))
    metrics = again.metrics(learnable(16, 3), answers)
    assert metrics["entity_f1"] == pytest.approx(record.metrics["entity_f1"])  # the best epoch's model was kept

    run = mlflow.MlflowClient().get_run(record.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == "0.005"
    curve = mlflow.MlflowClient().get_metric_history(record.mlflow_run_id, "loss")
    assert [point.step for point in curve] == sorted(point.step for point in curve)
    assert curve[0].value > curve[-1].value
    assert len(mlflow.MlflowClient().get_metric_history(record.mlflow_run_id, "eval_entity_f1")) == 8


def test_a_failed_training_closes_its_run_as_failed(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = write(tmp_path / "data.parquet", learnable(4, 4)), tmp_path / "out"

    def fails(*_: object, **__: object) -> None:
        raise job.TrainingError("a worker failed")

    monkeypatch.setattr(job, "_run", fails)
    with pytest.raises(job.TrainingError):
        train(FAMILY, TASK, data, str(out), checkpoint=str(plain))
    found = mlflow.MlflowClient().search_runs(
        [mlflow.MlflowClient().get_experiment_by_name("manta").experiment_id], f"tags.`manta.output` = '{out}'"
    )
    assert [run.info.status for run in found] == ["FAILED"]


# ---- what is refused before anything starts


def test_wrong_calls_are_told_in_one_line(plain: Path, tmp_path: Path, tiny: TinyFolder) -> None:
    data = write(tmp_path / "data.parquet", learnable(2, 5))
    out = str(tmp_path / "out")
    with pytest.raises(UsageError, match=r"bert features cannot be trained; of bert there can: .*token-classification"):
        train("bert", "features", data, out, checkpoint=str(tiny("bert", "features")))
    with pytest.raises(UsageError, match="layoutlm has one part: name it with --checkpoint"):
        train(FAMILY, TASK, data, out, encoder="a", decoder="b")
    two = functools.partial(train, "vision_encoder_decoder", "image-captioning", data, out)
    with pytest.raises(UsageError, match="name either --checkpoint, or --encoder and --decoder"):
        two(checkpoint=str(plain), encoder="a", decoder="b")
    with pytest.raises(UsageError, match="--decoder is missing: a model of two parts needs both"):
        two(encoder="a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "page.png").write_bytes(b"\x89PNG")
    with pytest.raises(UsageError, match=r"no training table at .*empty"):
        train(FAMILY, TASK, str(tmp_path / "empty"), out, checkpoint=str(plain))
    pq.write_table(pa.table({"words": [["a"]], "boxes": [[[0, 0, 1, 1]]]}), tmp_path / "no-labels.parquet")
    with pytest.raises(UsageError, match="no column 'labels'"):
        train(FAMILY, TASK, str(tmp_path / "no-labels.parquet"), out, checkpoint=str(plain))
    assert not Path(out).exists()


@pytest.mark.usefixtures("ray_local")
def test_more_workers_than_the_cluster_has_are_refused(plain: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", learnable(2, 6))
    with pytest.raises(UsageError, match="--workers must be from 1 to 2"):
        train(FAMILY, TASK, data, str(tmp_path / "out"), checkpoint=str(plain), workers=3)


@pytest.mark.usefixtures("ray_local")
def test_room_is_waited_for_and_then_given_up() -> None:
    said: list[str] = []
    with pytest.raises(
        UsageError, match=r"no room for 3 workers of 1 CPU each within 1 s; the cluster has \d CPU free"
    ):
        wait_for_room(3, {"CPU": 1}, 1.0, said.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "TOLD_S", 0.2)
        with pytest.raises(UsageError):
            wait_for_room(3, {"CPU": 1}, 1.0, said.append)
    assert said[0].startswith("waiting for room for 3 workers of 1 CPU each; the cluster has ")
    wait_for_room(2, {"CPU": 1}, 20.0, said.append)


def test_what_can_be_known_is_told_before_anything_starts(plain: Path, tmp_path: Path, tiny: TinyFolder) -> None:
    data, out = write(tmp_path / "data.parquet", learnable(2, 5)), str(tmp_path / "out")

    def refused(match: str, *, rows: str = data, more: str | None = None, **changes: object) -> None:
        with pytest.raises(UsageError, match=match):
            train(FAMILY, TASK, rows, out, checkpoint=str(plain), eval_data=more, settings=settings(**changes))

    refused("the table has no rows: .*empty.parquet", rows=write(tmp_path / "empty.parquet", []))
    refused("the table has no rows: .*empty.parquet", more=str(tmp_path / "empty.parquet"))
    wrong = write(tmp_path / "wrong.parquet", [*learnable(2, 5), page(["a", "b"], ["O"])])
    refused("wrong.parquet.*, row 2: the row has 2 words but 1 labels", more=wrong)
    unknown = write(tmp_path / "unknown.parquet", [page(["a"], ["B-NOTHING"])])
    refused("unknown.parquet.*, row 0: the checkpoint knows no label 'B-NOTHING'; it has: O, ", more=unknown)
    refused("train.metric: token-classification is not judged by 'rouge'; there are: ", more=data, metric="rouge")
    refused("train.patience needs rows to judge the model by: name them with --eval-data", patience=2)
    refused("train.frozen: 'nothing' fits no parameter", frozen=("nothing",))
    with pytest.raises(UsageError, match="bert"):
        train(FAMILY, TASK, data, out, checkpoint=str(tiny("bert", "token-classification")))
    assert not Path(out).exists()


@pytest.mark.usefixtures("ray_local")
def test_bad_rows_are_refused_unless_some_are_admitted(plain: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", [*learnable(3, 5), page(["a", "b"], ["O"])])
    told = "1 training rows left out; the first is row 3 of .*2 words but 1 labels; mend them, or .*train.left_out=0.25"
    with pytest.raises(UsageError, match=told):
        train(FAMILY, TASK, data, str(tmp_path / "out"), checkpoint=str(plain), settings=settings(left_out=0.2))


@pytest.mark.usefixtures("ray_local")
def test_a_loss_that_is_no_number_keeps_the_last_checkpoints_model(plain: Path, tmp_path: Path) -> None:
    data, out = write(tmp_path / "data.parquet", learnable(60, 5)), tmp_path / "out"
    how = settings(learning_rate=1e30, warmup=0, max_grad_norm=0, checkpoint_steps=1, token_budget=64, min_workers=1)
    told = r"stopped at step \d+: the loss is not a number .*; the last good model is in .*out/model. Try a lower"
    with pytest.raises(TrainingError, match=told):
        train(FAMILY, TASK, data, str(out), checkpoint=str(plain), settings=how)
    assert all(np.isfinite(one).all() for one in weights(out / "model").values())
    assert not (out / "trainer").exists()


def test_a_plan_can_be_sent(plain: Path, tmp_path: Path) -> None:
    import pickle

    plan = Plan(task=described(plain), settings=Train(), output=str(tmp_path))
    assert pickle.loads(pickle.dumps(plan)).settings == plan.settings
