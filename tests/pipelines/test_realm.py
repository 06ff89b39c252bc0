"""REALM beyond the goldens: evidence from an index, from old files without running them, and what is refused."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from refreshing_targets import embedded
from safetensors.torch import load_file, save_file

import pipelines
from pipelines import Checkpoint
from pipelines.realm.retriever import load_blocks, load_npy, save_blocks
from pipelines.tasks.dense_index import index_texts
from stages.errors import CheckpointError, Code, Failure, RowError, UsageError
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


def test_empty_evidence_is_refused_at_the_start(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny("realm", "open-question-answering"), folder)
    save_blocks([], folder)
    with pytest.raises(UsageError, match="its table of blocks is empty"):
        described(folder, "open-question-answering").load_processor()


def test_blocks_without_vectors_are_refused(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny("realm", "open-question-answering"), folder)
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "block_emb": weights["block_emb"] * 0}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"59 blocks of evidence but no vectors: .* task.refresh_steps=1000"):
        predictor(folder)
    save_blocks(["one", "two"], folder)
    with pytest.raises(CheckpointError, match="2 blocks of evidence but vectors of 59"):
        predictor(folder)


def predictor(folder, **options) -> Predictor:
    task = described(folder, "open-question-answering", **options)
    return Predictor(task, Settings(dtype="float32", device="cpu")).open()


def test_a_question_for_which_nothing_is_found_is_an_error_row(tiny, tmp_path, monkeypatch):
    index_texts(described(tiny("realm", "index"), "index"), ["the dog is red", "Paris is a city"], tmp_path)
    opened = predictor(tiny("realm", "open-question-answering"), index=str(tmp_path))
    search = opened._task.index.search

    def nothing_for_the_first(questions, top_k):  # as a compressed index does whose nearest lists are empty
        places, scores = search(questions, top_k)
        places[0] = -1
        return places, scores

    monkeypatch.setattr(opened._task.index, "search", nothing_for_the_first)
    failed, answered = opened.predict([{"question": "What is red?"}, {"question": "What is red?"}])
    assert isinstance(failed, Failure)
    assert (failed.code, failed.message) == (Code.ENCODE_FAILED, "no evidence was found for the question")
    assert len(answered["hits"]) == 2


def test_blocks_are_embedded_anew_as_often_as_asked_for(tiny):
    folder = tiny("realm", "open-question-answering")
    task = described(folder, "open-question-answering", refresh_steps=5)
    task.load_processor()
    task.load_model(torch.device("cpu"), torch.float32)
    first = task.model.block_emb.clone()
    with torch.no_grad():
        task.model.embedder.cls.dense.weight.mul_(-1)
    task.keep_up(4)
    assert torch.equal(task.model.block_emb, first)
    task.keep_up(5)
    assert not torch.allclose(task.model.block_emb, first, atol=0.1)
    with torch.no_grad():
        task.model.embedder.cls.dense.weight.mul_(-1)
    task.keep_up(0)
    torch.testing.assert_close(task.model.block_emb, first, atol=1e-5, rtol=1e-5)


def test_ranks_share_the_embedding(gloo, tiny):
    folder = str(tiny("realm", "open-question-answering"))
    for vectors in gloo.call(embedded, folder, world=2):
        torch.testing.assert_close(vectors, embedded(0, folder), atol=1e-6, rtol=1e-6)


def test_an_index_keeps_its_vectors(tiny):
    with pytest.raises(UsageError, match=r"leave out task\.refresh_steps or task\.index"):
        described(tiny("realm", "open-question-answering"), "open-question-answering", refresh_steps=5, index="there")
    with pytest.raises(UsageError, match="refresh_steps must be 0 or more"):
        described(tiny("realm", "open-question-answering"), "open-question-answering", refresh_steps=-1)


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
