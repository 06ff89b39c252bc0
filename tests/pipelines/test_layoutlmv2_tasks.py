"""LayoutLMv2's tasks: what is its own beside the contract of every family."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from layoutlmv2_small import model, opened

import pipelines.layoutlmv2 as ours
from pipelines import Checkpoint, family, task
from pipelines.contract.rows import sample_rows
from stages.errors import Code, RowError
from stages.examples import pack, unpack


def test_the_licence_is_told():
    found = family("layoutlmv2")
    assert "NC" in found.licence
    assert "commercial" in found.notice


def test_the_models_are_exported_and_cost_nothing_until_asked_for():
    code = "import sys, pipelines.layoutlmv2 as m; assert 'torch' not in sys.modules; print(m.LayoutLMv2Model.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "LayoutLMv2Model\n"
    with pytest.raises(AttributeError, match="no LayoutLMv3Model"):
        _ = ours.LayoutLMv3Model


def test_a_page_is_looked_at_once_whatever_its_windows_and_questions(tiny):
    kind = task("layoutlmv2", "document-question-answering")
    predictor = opened(kind, tiny("layoutlmv2", kind.name))
    rows = sample_rows(kind, seed=5, sizes=(110, 60))
    asked = [{**row, "question": question} for row in rows for question in ("What is total?", "Who?", "When was it?")]
    looked = []
    visual = predictor._task.model.base_model.visual
    hook = visual.register_forward_hook(lambda _module, given, _found: looked.append(len(given[0])))
    try:
        first = predictor.predict(asked)
        assert sum(looked) == 2
        with torch.no_grad():
            next(visual.parameters()).mul_(1.5)  # as a training step would
        assert predictor.predict(asked) != first
    finally:
        hook.remove()
        with torch.no_grad():
            next(visual.parameters()).div_(1.5)
    assert sum(looked) == 4


def test_the_image_matters_and_so_do_its_channels(tiny):
    kind = task("layoutlmv2", "features")
    predictor = opened(kind, tiny("layoutlmv2", kind.name))
    row = sample_rows(kind, seed=6, sizes=(9,))[0]
    red = np.zeros((224, 224, 3), np.uint8)
    red[..., 0] = 200
    vectors = [
        np.array(predictor.predict([{**row, "pixels": pixels}])[0]["vector"])
        for pixels in (row["pixels"], red.tobytes(), red[..., ::-1].tobytes())
    ]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(vectors[1] - vectors[2]).max() > 1e-3


@pytest.mark.parametrize("pixels", [None, b"", b"\0" * 10])
def test_pixels_of_another_size_are_refused(tiny, pixels):
    kind = task("layoutlmv2", "features")
    predictor = opened(kind, tiny("layoutlmv2", kind.name))
    row = {**sample_rows(kind, sizes=(3,))[0], "pixels": pixels}
    assert predictor.predict([row])[0].code == Code.ENCODE_FAILED


def test_visual_tokens_count_and_pixels_travel_once_a_page(tiny):
    kind = task("layoutlmv2", "token-classification")
    predictor = opened(kind, tiny("layoutlmv2", kind.name))
    record = predictor.encode_rows(sample_rows(kind, sizes=(110,)))[0]
    assert len(record.examples) > 2
    assert {one.extra for one in record.examples} == {49}
    packed = pack(record.examples)
    assert sum(map(len, packed["bytes"])) < 1.2 * 224 * 224 * 3
    assert all(np.array_equal(one.arrays["image"], record.examples[0].arrays["image"]) for one in unpack(packed))


def test_labels_on_the_first_sub_word_or_on_all(tiny):
    kind = task("layoutlmv2", "token-classification")
    folder = tiny("layoutlmv2", kind.name)
    checkpoint = Checkpoint(ref="tiny", path=str(folder), content="0")
    row = sample_rows(kind, sizes=(2,))[0]
    row |= {"words": ["unfurling", "total"], "labels": ["B-COMPANY", "O"]}
    found = {}
    for every in (False, True):
        made = kind(checkpoint, kind.options_type(label_all_sub_words=every))
        made.load_processor()
        found[every] = made.encode_labels(row, made.encode(row))[0]
    first, every = (found[which].arrays["labels"] for which in (False, True))
    words = found[True].arrays["past"] - found[True].arrays["at"]
    assert words[0] > 1
    assert first[1:-1].tolist() == [1, *[-100] * (words[0] - 1), 0, *[-100] * (words[1] - 1)]
    assert every[1:-1].tolist() == [1] * words[0] + [0] * words[1]
    assert found[True].extra == 49
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for which, labels in ((False, first), (True, every)):
        tokenizer.only_label_first_subword = not which
        theirs = tokenizer(row["words"], boxes=row["boxes"], word_labels=[1, 0])
        assert theirs["labels"] == labels.tolist()


def test_layoutxlm_checkpoints_load(tmp_path):
    """The multilingual sister: SentencePiece words, one token type, another frame around the text."""
    from transformers import LayoutXLMTokenizer

    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -1.0) for word in ("total", "facture", "le", "12")]
    pieces += [(letter, -5.0) for letter in "▁abcdefghijklmnopqrstuvwxyzéü.0123456789"] + [("<mask>", 0.0)]
    LayoutXLMTokenizer(vocab=pieces, model_max_length=64).save_pretrained(tmp_path)
    shape = {"vocab_size": len(pieces) + 4, "type_vocab_size": 1, "max_position_embeddings": 66, "pad_token_id": 1}
    model("LayoutLMv2ForTokenClassification", **shape, num_labels=3).save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["model_type"] == "layoutlmv2"
    kind = task("layoutlmv2", "token-classification")
    predictor = opened(kind, tmp_path)
    row = sample_rows(kind, sizes=(40,))[0]
    row |= {"words": ["Total", "facture", "größe", "12.50"] * 10}
    answer = predictor.predict([row])[0]
    assert len(answer["word_labels"]) == 40
    example = predictor.encode_rows([{**row, "words": row["words"][:4], "boxes": row["boxes"][:4]}])[0].examples[0]
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tmp_path)(row["words"][:4], boxes=row["boxes"][:4])
    assert example.arrays["input_ids"].tolist() == theirs["input_ids"]
    assert example.arrays["bbox"].tolist() == theirs["bbox"]


def test_a_row_error_says_what_is_looked_at():
    from pipelines.tasks.looking import read_pixels

    with pytest.raises(RowError, match="no pixels; the task looks at 224 × 224"):
        read_pixels({}, (224, 224))
