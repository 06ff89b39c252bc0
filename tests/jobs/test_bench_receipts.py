"""The receipts' bench: its tables and scores must be right, and its start a text encoder that reads as before."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.bench.common.minilm import package_folder, write_layoutlm
from jobs.bench.common.receipts import LABELS, best_fields, read_receipts, score_fields, write_table
from stages.base import Row
from stages.errors import UsageError

RECEIPT = {
    "id": "007",
    "split": "test",
    "width": 100,
    "height": 200,
    "image": None,
    "lines": [{"box": [10, 20, 90, 40], "text": "ACME LTD"}, {"box": [10, 100, 50, 110], "text": "9.00"}],
    "key": {"company": "ACME LTD", "total": "9.00"},
}


def write(folder: Path, *lines: str) -> Path:
    (folder / "receipts.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_receipts_become_rows_with_and_without_boxes(tmp_path: Path) -> None:
    receipts = read_receipts(write(tmp_path, json.dumps(RECEIPT)))
    for boxes in (True, False):
        (row,) = pq.read_table(write_table(receipts, tmp_path / "t.parquet", boxes=boxes)).to_pylist()
        assert row["words"] == ["ACME", "LTD", "9.00"]
        assert row["labels"] == ["B-COMPANY", "I-COMPANY", "B-TOTAL"]
        assert row["boxes"][2] == ([100, 500, 500, 550] if boxes else [0, 0, 0, 0])


def test_what_is_wrong_with_receipts_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs the challenge's receipts: --data FOLDER with receipts.jsonl"):
        read_receipts(None)
    with pytest.raises(UsageError, match=r"receipts.jsonl, line 2: KeyError"):
        read_receipts(write(tmp_path, json.dumps(RECEIPT), "{}"))


def entity(label: str, text: str, score: float) -> Row:
    return {"label": label, "text": text, "score": score, "word_start": 0, "word_end": len(text.split())}


def test_a_field_is_the_entity_with_most_sure_words() -> None:
    found = best_fields([entity("COMPANY", "ACME", 0.9), entity("COMPANY", "ACME LTD", 0.6), entity("TOTAL", "9", 0.2)])
    assert found == {"company": "ACME LTD", "total": "9"}


def test_fields_are_scored_by_their_text() -> None:
    said = {"a": {"company": "ACME LTD", "total": "9.00"}, "b": {"company": "X", "total": "1.00"}}
    found = {"a": {"company": "acme, ltd.", "total": "9.00"}, "b": {"total": "2.00"}}
    score = score_fields(said, found)
    assert score.exact == pytest.approx(2 * 1 / (4 + 3))
    assert score.letters == pytest.approx(2 * 2 / (4 + 3))
    assert score_fields(said, said).exact == 1
    assert score_fields(said, {}).exact == 0


def test_the_start_reads_words_as_the_text_encoder_does(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertModel, LayoutLMForTokenClassification

    write_layoutlm(tmp_path, LABELS)
    ours, theirs = LayoutLMForTokenClassification.from_pretrained(tmp_path), BertModel.from_pretrained(package_folder())
    ids = AutoTokenizer.from_pretrained(tmp_path)("Total: 9.00 ringgit", return_tensors="pt")
    ours.eval(), theirs.eval()
    assert [ours.config.id2label[number] for number in range(len(LABELS))] == list(LABELS)
    embeddings = ours.layoutlm.embeddings
    places = embeddings.x_position_embeddings.weight.detach().clone()
    with torch.no_grad():
        for axis in ("x", "y"):
            getattr(embeddings, f"{axis}_position_embeddings").weight.zero_()
        hidden = ours.layoutlm(**ids, bbox=torch.zeros(*ids["input_ids"].shape, 4, dtype=torch.long)).last_hidden_state
        torch.testing.assert_close(hidden, theirs(**ids).last_hidden_state, atol=1e-4, rtol=1e-4)
    near, far = (float(torch.cosine_similarity(places[400], places[at], dim=0)) for at in (404, 900))
    assert near > 0.9 > far
