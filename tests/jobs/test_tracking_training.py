"""What a training leaves in MLflow: data, pictures, the model with its card, its name, and who is champion."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from transformers import pipeline

from jobs.tracking import Tracking
from jobs.tracking_card import Card, Data, installed
from jobs.tracking_model import Trained, signature, write_beside
from jobs.tracking_pictures import MOST_NAMES, picture
from jobs.tracking_registry import Registration, check_name
from jobs.tracking_system import system_metrics
from jobs.tracking_training import Finished, tell_data, tell_evaluation, tell_model
from jobs.training.evaluate import evaluate
from pipelines import Checkpoint, Metric, task
from pipelines.checkpoint import content_of, resolve
from pipelines.tasks.breakdown import confusion_matrix, label_table
from stages.base import Row
from stages.errors import MantaError, UsageError
from stages.predictor import Predictor
from stages.settings import Predict

TinyFolder = Callable[[str, str], Path]
FAMILY, TASK = "bert", "text-classification"
ROWS: list[Row] = [{"text": f"{word} movie", "label": label} for word, label in (("good", 0), ("bad", 1), ("odd", 0))]


@pytest.fixture
def folder(tiny: TinyFolder, tmp_path: Path) -> Path:
    """A trained checkpoint, so to speak."""
    return Path(shutil.copytree(tiny(FAMILY, TASK), tmp_path / "model"))


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[Tracking]:
    opened = Tracking.start("train", output=str(tmp_path), name="x")
    yield opened
    opened.close("finished")


def card(folder: Path, metrics: Mapping[str, float] | None = None, digest: str = "e1") -> Card:
    described = task(FAMILY, TASK)(resolve(str(folder)))
    described.load_processor()
    return Card(
        family=FAMILY,
        task=described,
        data=Data(name="train.parquet", digest="d1", rows=9),
        evaluation=Data(name="test.parquet", digest=digest, rows=3) if metrics else None,
        metrics=metrics or {},
        metric=Metric(name="accuracy"),
        settings={"epochs": 3.0},
        steps=7,
    )


def client(tracking: Tracking) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking.store.uri)


# ---- the machine, the data, the pictures


def test_the_machine_is_told_however_short_the_training(tracking: Tracking) -> None:
    with system_metrics(tracking, interval=0.05):
        pass
    tracking.close("finished")
    told = client(tracking).get_run(tracking.run_id).data.metrics
    assert 0 <= told["system/cpu_utilization_percentage"] <= 100
    assert 0 < told["system/system_memory_usage_percentage"] <= 100


def test_data_is_told_by_its_content(tracking: Tracking) -> None:
    tell_data(
        tracking, "s3://key:secret@bucket/train.parquet", Data(name="train.parquet", digest="d1", rows=9), "training"
    )
    tracking.close("finished")
    (told,) = client(tracking).get_run(tracking.run_id).inputs.dataset_inputs
    assert (told.dataset.name, told.dataset.digest, json.loads(told.dataset.profile)) == (
        "train.parquet",
        "d1",
        {"rows": 9},
    )
    assert "secret" not in told.dataset.source
    assert [tag.value for tag in told.tags] == ["training"]


def test_a_confusion_matrix_counts_and_its_picture_shows_it(tracking: Tracking, tmp_path: Path) -> None:
    table = confusion_matrix([0, 0, 0, 1], [0, 1, 0, 1], ["good", "bad"])
    assert table.values == ((2, 1), (0, 1))
    assert table.shades == ((2 / 3, 1 / 3), (0, 1))
    (tmp_path / "evaluation.json").write_text(json.dumps({"metrics": {}, "breakdown": asdict(table)}))
    tell_evaluation(tracking, str(tmp_path))
    tracking.close("finished")
    names = [one.path for one in client(tracking).list_artifacts(tracking.run_id, "evaluation")]
    assert names == ["evaluation/confusion_matrix.png", "evaluation/evaluation.json"]
    file = client(tracking).download_artifacts(tracking.run_id, names[0])
    with Image.open(file) as drawn:
        pixels = np.asarray(drawn.convert("RGB"), np.int32)
    assert pixels.shape[1] > 300
    blue = (pixels[..., 2] - pixels[..., 0] > 60).mean()  # the shaded cells
    assert 0.05 < blue < 0.9


def test_a_table_that_nobody_could_read_is_not_drawn() -> None:
    names = [f"label {n}" for n in range(MOST_NAMES + 1)]
    assert picture(confusion_matrix([0], [1], names)) is None
    assert picture(label_table([], [], of="entities")) is not None


def test_entities_are_counted_by_label(tiny: TinyFolder) -> None:
    kind = task("layoutlm", "token-classification")(resolve(str(tiny("layoutlm", "token-classification"))))
    gold: list[Row] = [{"labels": ["B-TOTAL", "I-TOTAL", "O", "B-COMPANY"]}, {"labels": ["B-TOTAL"]}]
    answers: list[Row] = [{"word_labels": ["B-TOTAL", "O", "O", "B-COMPANY"]}, {"word_labels": ["B-TOTAL"]}]
    table = kind.breakdown(gold, answers)
    assert table is not None
    assert table.rows == ("COMPANY", "TOTAL", "all")
    assert dict(zip(table.rows, table.values, strict=True))["TOTAL"] == (0.5, 0.5, 0.5, 2, 2)
    metrics = kind.metrics(gold, answers)
    assert table.values[-1][:3] == pytest.approx([metrics[f"entity_{name}"] for name in ("precision", "recall", "f1")])


def test_an_evaluation_breaks_its_metrics_down(folder: Path) -> None:
    judged = evaluate(card(folder).task, folder, ROWS)
    assert judged.breakdown is not None
    matrix = np.array(judged.breakdown.values)
    assert matrix.sum() == judged.metrics["rows"] == 3
    assert np.trace(matrix) / 3 == pytest.approx(judged.metrics["accuracy"])


# ---- the model


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # mlflow.pyfunc, of its own hints
def test_the_logged_model_is_the_checkpoint_with_card_signature_and_requirements(
    tracking: Tracking, folder: Path, tmp_path: Path
) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\nthe base's card")
    before = content_of(folder)
    assert tell_model(tracking, Finished(card=card(folder, {"accuracy": 0.5}), model=str(folder)), None) is None
    tracking.close("finished")
    assert content_of(folder) == before
    (output,) = client(tracking).get_run(tracking.run_id).outputs.model_outputs
    logged = client(tracking).get_logged_model(output.model_id)
    assert (str(logged.status), output.step) == ("READY", 7)
    place = Path(
        mlflow.artifacts.download_artifacts(artifact_uri=logged.artifact_location, dst_path=str(tmp_path / "got"))
    )
    assert content_of(place / "model") == before
    assert not [path for path in place.rglob("*") if path.suffix in {".pkl", ".pickle", ".bin", ".pt"}]
    pinned = dict(line.split("==") for line in (place / "requirements.txt").read_text().split())
    assert pinned == installed()
    assert pinned["transformers"]
    told = (place / "README.md").read_text()
    head = yaml.safe_load(told.split("---")[1])
    assert (head["license"], head["pipeline_tag"]) == ("mit", TASK)
    for each in ("d1", "e1", "| accuracy | 0.5 |", "| epochs | 3.0 |", "model`", "transformers"):
        assert each in told
    assert str(folder.parent) not in told, "a machine's paths are nobody's business"

    # As MLflow loads it: the same answers as manta's own, and a table that lacks a column is refused.
    model = mlflow.pyfunc.load_model(str(place))
    table = pd.DataFrame({"text": [str(row["text"]) for row in ROWS]})
    ours = Predictor(card(folder).task, Predict(dtype="float32")).open().predict(ROWS)
    answered = model.predict(table)
    assert answered["label"].tolist() == [row["label"] for row in ours]  # type: ignore[index,call-overload]
    np.testing.assert_allclose(answered["score"], [row["score"] for row in ours], atol=1e-6)  # type: ignore[index,call-overload]
    with pytest.raises(mlflow.exceptions.MlflowException, match="text"):
        model.predict(table.rename(columns={"text": "txt"}))


@pytest.mark.parametrize(
    ("family", "name", "needed", "optional"),
    [
        ("layoutlm", "token-classification", [], ["words", "boxes", "image"]),
        ("layoutlmv2", "token-classification", ["image"], ["words", "boxes"]),
        ("owlvit", "image-guided-detection", ["image", "query_image"], []),
        ("clip", "features", [], ["image", "text"]),
        ("sew_d", "automatic-speech-recognition", ["audio"], []),
        ("videomae", "video-classification", ["video"], []),
    ],
)
def test_a_signature_has_the_columns_of_a_table(family: str, name: str, needed: list[str], optional: list[str]) -> None:
    kind = task(family, name)(Checkpoint(ref="not loaded", path="", content="0"))
    made = signature(kind)
    assert [one.name for one in made.inputs if one.required] == needed
    assert [one.name for one in made.inputs if not one.required] == optional
    assert ("Array(Array(integer))" in str(made.inputs)) == ("boxes" in optional)
    assert [one.name for one in made.outputs] == list(kind.writes)


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_a_logged_model_that_looks_takes_the_images_of_a_table(tiny: TinyFolder, tmp_path: Path) -> None:
    family, name = "clip", "zero-shot-image-classification"
    kind = task(family, name)(resolve(str(tiny(family, name))))
    changed = replace(card(tiny(FAMILY, TASK)), family=family, task=kind)
    place = tmp_path / "logged"
    shutil.copytree(tiny(family, name), place / "model")
    write_beside(place, Trained(folder=place / "model", card=changed, step=1), run_id="r", model_id="m")
    model = mlflow.pyfunc.load_model(str(place))

    labels = ["a red field", "grass", "a grey wall"]
    drawn = [Image.new("RGB", (50, 40), colour) for colour in ("red", "green", "grey")]
    files = [io.BytesIO() for _ in drawn]
    for image, file in zip(drawn, files, strict=True):
        image.paste("white", (5, 5, 20, 30))
        image.save(file, "PNG")
    rows = pd.DataFrame({"image": [file.getvalue() for file in files], "candidate_labels": [labels] * 3})
    answered = model.predict(rows)
    classify = pipeline(name, model=str(tiny(family, name)))
    for image, scores in zip(drawn, answered["scores"], strict=True):  # type: ignore[call-overload,index]
        wanted = {one["label"]: one["score"] for one in classify(image, candidate_labels=labels)}
        assert {one["label"]: one["score"] for one in scores} == pytest.approx(wanted, abs=1e-5)

    rows["image"] = [rows["image"][0], b"no image", rows["image"][2]]
    with pytest.raises(ValueError, match="row 1 cannot be answered: "):
        model.predict(rows)
    (tmp_path / "there.png").write_bytes(rows["image"][0])
    rows["image"] = [str(tmp_path / "there.png")] * 3
    with pytest.raises(ValueError, match=r"row 0 cannot .*: the column 'image' takes a file's bytes, not its path"):
        model.predict(rows)


def test_a_card_knows_a_default_checkpoint_and_an_unjudged_model(folder: Path) -> None:
    plain = card(folder)
    text = plain.text("reader")
    assert "license: unknown" in text
    assert "not judged" in text
    base = replace(plain.task.checkpoint, ref="google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594")
    plain.task.checkpoint = base
    head = yaml.safe_load(plain.text("reader").split("---")[1])
    assert (head["license"], head["base_model"]) == ("apache-2.0", "google-bert/bert-base-uncased")


# ---- the registry


def registered(tracking: Tracking, done: Finished, name: str = "reader") -> Registration:
    found = tell_model(tracking, done, name)
    assert found is not None
    return found


def test_the_champion_moves_only_when_the_same_data_says_so(tracking: Tracking, folder: Path) -> None:
    def version(metrics: Mapping[str, float] | None, digest: str = "e1") -> Registration:
        return registered(tracking, Finished(card=card(folder, metrics, digest), model=str(folder), rows=ROWS))

    unjudged = version(None)
    assert (unjudged.champion, unjudged.version) == (False, "1")
    first, worse, same, better = (version({"accuracy": value}) for value in (0.5, 0.4, 0.5, 0.75))
    assert [one.champion for one in (first, worse, same, better)] == [True, False, False, True]
    assert "no champion before" in first.against
    assert "0.4000 against 0.5000 of the champion, version 2, on the same evaluation data" in worse.against
    assert "0.7500 against 0.5000 of the champion, version 2" in better.against
    store = client(tracking)
    assert str(store.get_model_version_by_alias("reader", "champion").version) == better.version
    tags = store.get_model_version("reader", worse.version).tags
    assert (tags["manta.champion"], tags["manta.champion_against"]) == ("no", worse.against)
    assert (tags["manta.metric"], tags["manta.metric_value"], tags["manta.eval_digest"]) == ("accuracy", "0.4", "e1")

    # On other data the champion is judged anew: its own tag, 0.75, says nothing about them.
    real = evaluate(card(folder).task, folder, ROWS).metrics["accuracy"]
    assert 0 < real < 1
    other = version({"accuracy": math.nextafter(real, 0)}, "e2")
    assert not other.champion
    assert "judged anew" in other.against
    assert version({"accuracy": math.nextafter(real, 1)}, "e2").champion
    tracking.close("finished")
    told = store.get_run(tracking.run_id).data.tags
    assert (told["manta.registered_name"], told["manta.champion"]) == ("reader", "yes")


def test_a_champion_of_another_task_stays(tracking: Tracking, folder: Path, tiny: TinyFolder) -> None:
    registered(tracking, Finished(card=card(folder, {"accuracy": 0.1}), model=str(folder)), "mixed")
    other = tiny("bert", "token-classification")
    changed = replace(
        card(folder, {"entity_f1": 0.9}),
        task=task("bert", "token-classification")(resolve(str(other))),
        metric=Metric(name="entity_f1"),
    )
    found = registered(tracking, Finished(card=changed, model=str(folder)), "mixed")
    assert not found.champion
    assert "another task, text-classification" in found.against


def test_a_champion_that_cannot_be_judged_stays(tracking: Tracking, folder: Path) -> None:
    registered(tracking, Finished(card=card(folder, {"accuracy": 0.1}), model=str(folder)), "strange")
    rows: list[Row] = [{"text": "good movie", "label": "a label that it never heard of"}]
    found = registered(
        tracking, Finished(card=card(folder, {"accuracy": 0.9}, "e9"), model=str(folder), rows=rows), "strange"
    )
    assert not found.champion
    assert "cannot be judged on this: the checkpoint knows no label" in found.against


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", "x" * 300])
def test_a_name_that_cannot_be_registered_is_refused_before_anything_starts(tracking: Tracking, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a model"):
        tracking.ask(lambda client, _: check_name(client, name))
    tracking.ask(lambda client, _: check_name(client, "it's fine"))


def test_a_model_that_cannot_be_registered_is_said_to_be_there(
    tracking: Tracking, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("disk full\nand more")

    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", broken)
    with pytest.raises(MantaError, match=rf"is trained, in {folder}, but not registered as reader: disk full$"):
        tell_model(tracking, Finished(card=card(folder), model=str(folder)), "reader")
    assert tell_model(tracking, Finished(card=card(folder), model=str(folder)), None) is None  # told in the log
