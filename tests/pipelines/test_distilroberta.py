"""DistilRoBERTa: texts joined and cut into blocks for training; other architectures in its place."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import torch

import pipelines
from pipelines import Checkpoint
from pipelines.contract.rows import sample_rows
from stages.errors import UsageError
from stages.predictor import Predictor
from stages.settings import Predict as Settings

TASK = pipelines.task("distilroberta", "masked-lm")
TEXTS = ("the river of paris", "a" + " dog in the street" * 40, "blue", "", "red and green")


def opened(folder, **options) -> pipelines.Task:
    task = TASK(Checkpoint(ref=str(folder), path=str(folder), content=""), TASK.options_type(**options))
    task.load_processor()
    task.load_model(torch.device("cpu"), torch.float32)
    return task


def labelled(task, texts=TEXTS) -> list:
    rows = [{"text": text} for text in texts]
    return [task.encode_labels(row, task.encode(row)) for row in rows]


@pytest.mark.parametrize("size", [7, 32, 64])
def test_texts_are_joined_and_cut_into_blocks(tiny, size):
    task = opened(tiny("distilroberta", "masked-lm"), block_size=size)
    kept = [one for row in task.arrange(labelled(task)) for one in row]
    tokens = list(itertools.chain.from_iterable(task.tokenizer(text, verbose=False)["input_ids"] for text in TEXTS))
    assert np.concatenate([one.arrays["input_ids"] for one in kept]).tolist() == tokens
    assert [one.length for one in kept[:-1]] == [size] * ((len(tokens) - 1) // size)
    special = set(task.tokenizer.all_special_ids)
    for one in kept:
        pairs = zip(one.arrays["input_ids"].tolist(), one.arrays["labels"].tolist(), strict=True)
        assert all(label == (-100 if token in special else token) for token, label in pairs)


def test_without_joining_no_example_is_longer_than_a_block(tiny):
    task = opened(tiny("distilroberta", "masked-lm"))
    assert max(one.length for row in labelled(task) for one in row) == 64 < TASK.options_type().block_size


@torch.no_grad()
def test_masks_are_drawn_anew_for_fifteen_of_a_hundred_tokens(tiny):
    task = opened(tiny("distilroberta", "masked-lm"), block_size=64)
    kept = [one for row in task.arrange(labelled(task, TEXTS * 20)) for one in row]
    random = np.random.default_rng(0)
    first, second = (task.collate([task.vary(one, random) for one in kept]) for _ in range(2))
    assert not torch.equal(first["labels"], second["labels"])
    hidden = first["labels"] != -100
    assert 0.13 < hidden.float().mean() < 0.17
    assert 0.7 < (first["input_ids"][hidden] == task.mask_id).float().mean() < 0.9
    loss = task.loss(task.run(first), first["labels"], None)
    theirs = task.model(**first).loss
    assert float(loss) == pytest.approx(float(theirs), rel=1e-5)


def test_any_masked_language_model_takes_its_place(tiny):
    folder = tiny("bert", "masked-lm")
    rows = sample_rows(TASK)
    checkpoint = Checkpoint(ref="bert", path=str(folder), content="")
    ours, bert = (
        Predictor(task(checkpoint), Settings(dtype="float32", device="cpu")).open().predict(rows)
        for task in (TASK, pipelines.task("bert", "masked-lm"))
    )
    assert ours == bert
    assert opened(folder, block_size=16).arrange(labelled(opened(folder, block_size=16)))[0][0].length == 16


def test_positions_that_count_from_the_padding_on_are_no_room(tiny, tmp_path):
    """A tokenizer that tells no limit leaves the model's: 66 positions, of which two are the padding's."""
    folder = tmp_path / "model"
    shutil.copytree(tiny("distilroberta", "masked-lm"), folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("model_max_length")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert opened(folder).limit == 64


def test_a_block_needs_two_tokens():
    with pytest.raises(UsageError, match="block_size"):
        TASK.options_type(block_size=1)
