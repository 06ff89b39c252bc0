"""What the contract of all families does not ask: labels are encoded once, pixels travel once, options are checked."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines import Checkpoint, task
from pipelines.contract.rows import sample_rows
from pipelines.contract.same import same
from stages.base import OpenStages
from stages.columns import COLUMNS
from stages.errors import UsageError
from stages.predict import Predictor, Prepare
from stages.settings import Predict

TASK = "zero-shot-image-classification"
SETTINGS = Predict(dtype="float32", device="cpu", token_budget=40)  # two images a batch
LABELS = ("a red cat", "the deep sea", "paper")


def made(folder, name: str = TASK, **options):
    kind = task("clip", name)
    return kind(Checkpoint(ref="tiny", path=str(folder), content="0"), kind.options_type(**options))


def rows_of(name: str = TASK):
    return [{**row, "candidate_labels": None} for row in sample_rows(task("clip", name))]


def test_labels_are_encoded_once_whatever_the_number_of_images(tiny):
    predictor = Predictor(made(tiny("clip", TASK), candidate_labels=LABELS), SETTINGS).open()
    model, texts = predictor._task.model, []
    own = model.get_text_features
    model.get_text_features = lambda **batch: texts.append(len(batch["input_ids"])) or own(**batch)
    answers = predictor.predict(rows_of())
    assert texts == [len(LABELS)]
    assert all({each["label"] for each in answer["scores"]} == set(LABELS) for answer in answers)
    predictor.predict([{**rows_of()[0], "candidate_labels": ["paper", "snow"]}])
    assert texts == [len(LABELS), 1]


def test_the_template_and_the_number_of_answers_are_options(tiny):
    folder = tiny("clip", TASK)
    plain, framed = (
        Predictor(made(folder, candidate_labels=LABELS, hypothesis_template=template, top_k=2), SETTINGS).open()
        for template in ("{}", "A poem on {}, no photo")
    )
    sentences = tuple(f"A poem on {label}, no photo" for label in LABELS)
    whole = Predictor(made(folder, candidate_labels=sentences, hypothesis_template="{}"), SETTINGS).open()
    ours, theirs = framed.predict(rows_of()), whole.predict(rows_of())
    assert [len(one["scores"]) for one in ours] == [2] * len(ours)
    same([one["score"] for one in ours], [one["score"] for one in theirs])
    assert [one["score"] for one in plain.predict(rows_of())] != [one["score"] for one in ours]


def test_pixels_travel_once_between_the_halves(tiny):
    rows = rows_of()
    names = ("picture", "candidate_labels")
    table = pa.table({name: pa.array([row[name] for row in rows], COLUMNS[name].type) for name in names})
    stages = OpenStages([Prepare(task=made(tiny("clip", TASK), candidate_labels=LABELS), settings=SETTINGS)])
    (ready,) = stages(table)
    stages.close()
    assert all(row["pixels"] is None and row["image_height"] > 20 for row in ready["picture"].to_pylist())
    assert ready.nbytes < 2 * len(rows) * 32 * 32 * 3


def test_features_of_normalised_vectors_and_of_texts_alone(tiny):
    folder = tiny("clip", "features")
    row = {**sample_rows(task("clip", "features"))[0], "text": "a red cat"}
    (both,) = Predictor(made(folder, "features"), SETTINGS).open().predict([row])
    (unit,) = Predictor(made(folder, "features", of="text", normalize=True), SETTINGS).open().predict([row])
    same(unit["vector"], (np.array(both["text_vector"]) / np.linalg.norm(both["text_vector"])).tolist())
    assert unit["text_vector"] is None


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (TASK, {"hypothesis_template": "a photo"}, r"task\.hypothesis_template must hold \{\}"),
        (TASK, {"top_k": -1}, r"task\.top_k must be 0 or more"),
        ("features", {"of": "sound"}, r"task\.of must be auto, image or text"),
    ],
)
def test_options_are_checked(name, options, said):
    with pytest.raises(UsageError, match=said):
        made("", name, **options)


def test_rows_without_what_is_asked_for_are_refused():
    with pytest.raises(UsageError, match="features need an image or a text"):
        made("", "features").check({"audio"})
    with pytest.raises(UsageError, match="features need the column 'text'"):
        made("", "features", of="text").check({"picture"})
    with pytest.raises(UsageError, match="no labels to choose from"):
        made("", TASK).check({"picture"})
