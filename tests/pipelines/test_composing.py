"""Checkpoints made of two: they load, write, and keep what their parts learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from two_parts import write_vit

from pipelines import Checkpoint, family, task
from pipelines.contract.rows import sample_rows
from stages.errors import CheckpointError
from stages.predict import Predictor
from stages.settings import Predict


def checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint(ref=folder.name, path=str(folder), content="0")


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Checkpoint:
    return checkpoint(write_vit(tmp_path_factory.mktemp("vit")))


@pytest.mark.parametrize(
    ("name", "task_name", "second"),
    [
        ("vision_encoder_decoder", "image-captioning", "causal-lm"),
        ("vision_text_dual_encoder", "zero-shot-image-classification", "features"),
    ],
)
def test_a_checkpoint_made_of_two_runs_and_keeps_their_weights(tmp_path, tiny, vit, name, task_name, second):
    text = tiny("bert", second)
    folder = tmp_path / "both"
    family(name).build(vit, checkpoint(text), folder)
    weights, theirs = (load_file(one / "model.safetensors") for one in (folder, text))
    kept = [key for key in weights if key.endswith("embeddings.word_embeddings.weight")]
    word_embeddings = next(value for key, value in theirs.items() if key.endswith("word_embeddings.weight"))
    assert torch.equal(weights[kept[0]], word_embeddings)
    kind = task(name, task_name)
    rows = sample_rows(kind)
    rows = [{**row, "candidate_labels": ["a cat", "the sea"]} for row in rows]
    answers = Predictor(kind(checkpoint(folder)), Predict(dtype="float32", device="cpu")).open().predict(rows[:2])
    assert all(set(answer) == set(kind.writes) for answer in answers)


def test_two_that_do_not_fit_are_refused_by_name(tmp_path, tiny, vit):
    bert = checkpoint(tiny("bert", "causal-lm"))
    with pytest.raises(CheckpointError, match=r"image processor|do not make"):
        family("vision_encoder_decoder").build(bert, bert, tmp_path / "none")
