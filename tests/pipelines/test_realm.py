"""REALM beyond the goldens: evidence from an index, from old files without running them, and what is refused."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

import pipelines
from pipelines import Checkpoint
from pipelines.realm.retriever import load_blocks, load_npy, save_blocks
from pipelines.tasks.dense_index import index_texts
from stages.errors import RowError, UsageError
from stages.predictor import Predictor
from stages.settings import Predict as Settings

BLOCKS = [b"the tower of Paris", "the river of Zürich".encode(), b""]


def described(folder, name: str, **options) -> pipelines.Task:
    task = pipelines.task("realm", name)
    return task(Checkpoint(ref=str(folder), path=str(folder), content="x"), task.options_type(**options))


@pytest.mark.parametrize("protocol", [2, 4])
def test_old_block_records_are_read_as_bytes_alone(tmp_path, protocol):
    path = tmp_path / "block_records.npy"
    with path.open("wb") as file:
        array = np.array(BLOCKS, dtype=object)
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": array.shape})
        pickle.dump(array, file, protocol=protocol)
    assert load_npy(path) == BLOCKS
    assert load_blocks(tmp_path) == [block.decode() for block in BLOCKS]
    save_blocks(["new"], tmp_path)
    assert load_blocks(tmp_path) == ["new"]


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", [[Evil()], ["text"], [1]])
def test_a_pickle_that_holds_something_else_is_refused_and_not_run(tmp_path, content, capsys):
    path = tmp_path / "block_records.npy"
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="no array of byte strings"):
        load_npy(path)
    assert not capsys.readouterr().out


def test_questions_without_evidence_are_refused_at_the_start(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny("realm", "open-question-answering"), folder)
    (folder / "block_records.parquet").unlink()
    with pytest.raises(UsageError, match="no evidence at"):
        described(folder, "open-question-answering").load_processor()


def test_evidence_comes_from_an_index(tiny, tmp_path):
    folder = tiny("realm", "open-question-answering")
    texts = ["the dog is red", "Paris is a city", "the invoice is due"]
    index_texts(described(tiny("realm", "index"), "index"), texts, tmp_path)
    task = described(folder, "open-question-answering", index=str(tmp_path))
    (answer,) = Predictor(task, Settings(dtype="float32", device="cpu")).open().predict([{"question": "What is due?"}])
    assert answer["evidence"] in texts
    assert {hit["text"] for hit in answer["hits"]} == set(texts)
    assert answer["answer"]


def test_rows_without_candidates_are_named(tiny):
    task = described(tiny("realm", "relevance"), "relevance")
    task.load_processor()
    with pytest.raises(RowError, match="candidates"):
        task.encode({"text": "a", "candidates": []})


def test_masks_need_room_beside_evidence(tiny):
    task = described(tiny("realm", "masked-lm"), "masked-lm")
    task.load_processor()
    row = {"text": "the " * 40 + "[MASK]", "candidates": ["a " * 60]}
    with pytest.raises(RowError, match="a mask lies beyond"):
        task.encode(row)
    with pytest.raises(RowError, match="2 candidates but another number of relevance"):
        task.encode({"text": "a [MASK]", "candidates": ["b", "c"], "relevance": [1.0]})
