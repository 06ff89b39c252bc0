"""REALM against the numbers of transformers 4.39.3."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from goldens import GOLDENS, arrays, close, zipped

from pipelines.realm import (
    RealmEmbedder,
    RealmForOpenQA,
    RealmKnowledgeAugEncoder,
    RealmReader,
    RealmRetriever,
    RealmScorer,
    RealmTokenizer,
)

FOLDER = GOLDENS / "realm"


def load(make, name, **how):
    model, told = make.from_pretrained(FOLDER / name, output_loading_info=True, **how)
    assert not told["unexpected_keys"]
    return model.eval(), arrays(FOLDER / name / "inputs.npz", torch.from_numpy), arrays(FOLDER / name / "outputs.npz")


@pytest.fixture(scope="module")
def tokenizer():
    return RealmTokenizer(str(FOLDER / "vocab.txt"))


@pytest.fixture(scope="module")
def retriever(tokenizer):
    blocks = json.loads((FOLDER / "blocks.json").read_text())
    return RealmRetriever(np.array([block.encode() for block in blocks], dtype=object), tokenizer)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (RealmEmbedder, "embedder"),
        (RealmScorer, "scorer_shared"),
        (RealmKnowledgeAugEncoder, "knowledge_aug_encoder"),
        (RealmReader, "reader"),
        (RealmForOpenQA, "openqa"),
    ],
)
def test_weights_have_their_names(make, name):
    model, *_ = load(make, name)
    keys = json.loads((FOLDER / name / "state_dict.json").read_text())["keys"]
    ours = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    once = [key for key in keys if name != "scorer_shared" or not key[0].startswith("query_embedder.")]
    assert ours == {key: tuple(shape) for key, shape, _ in once}


@torch.no_grad()
def test_embedder():
    model, inputs, wanted = load(RealmEmbedder, "embedder")
    out = model(**inputs, output_hidden_states=True)
    close(out.projected_score, wanted["projected_score"])
    close(out.hidden_states[0], wanted["hidden_states_0"])
    close(out.hidden_states[2], wanted["hidden_states_2"])
    close(model(inputs["input_ids"]).projected_score, wanted["projected_score_ids_only"])


@pytest.mark.parametrize("name", ["scorer_shared", "scorer_separate"])
@torch.no_grad()
def test_scorer(name):
    config = RealmEmbedder.config_class.from_pretrained(FOLDER / name)
    apart = RealmEmbedder(config) if name == "scorer_separate" else None
    model, inputs, wanted = load(RealmScorer, name, query_embedder=apart)
    out = model(**inputs)
    for field in ("relevance_score", "query_score", "candidate_score"):
        close(out[field], wanted[field])


@torch.no_grad()
def test_knowledge_augmented_encoder():
    model, inputs, wanted = load(RealmKnowledgeAugEncoder, "knowledge_aug_encoder")
    mask = inputs.pop("mlm_mask")
    out = model(**inputs, mlm_mask=mask)
    close(out.logits, wanted["logits"])
    close(out.loss, wanted["loss"])
    close(model(**inputs).loss, wanted["loss_no_mlm_mask"])
    close(model(**inputs, mlm_mask=torch.zeros_like(mask)).loss, wanted["loss_zero_mlm_mask"])
    inputs.pop("relevance_score")
    with pytest.raises(ValueError, match="relevance_score"):
        model(**inputs)


def variants(inputs):
    """The answers behind each prefix, as the goldens' README has them."""
    blocks = len(inputs["has_answers"])

    def one(block, first, last):
        has = torch.zeros(blocks, dtype=torch.bool)
        has[block] = True
        starts, ends = torch.full((blocks, 1), -1), torch.full((blocks, 1), -1)
        starts[block], ends[block] = first, last
        return {"has_answers": has, "start_positions": starts, "end_positions": ends}

    nothing = torch.full((blocks, 3), -1)
    yield "", {name: inputs[name] for name in ("has_answers", "start_positions", "end_positions")}
    yield "nolabels.", {}
    none = torch.zeros(blocks, dtype=torch.bool)
    yield "noanswer.", {"has_answers": none, "start_positions": nothing, "end_positions": nothing}
    yield "outsidebeam.", one(5, 9, 11)
    yield "widespan.", one(1, 9, 20)


@torch.no_grad()
def test_reader():
    model, inputs, wanted = load(RealmReader, "reader")
    common = {name: each for name, each in inputs.items() if "answer" not in name and "positions" not in name}
    common["block_mask"] = common["block_mask"].bool()
    for prefix, answers in variants(inputs):
        out = model(**common, **answers)
        names = ["block_idx", "candidate", "start_pos", "end_pos"]
        names += ["loss", "retriever_loss", "reader_loss", "retriever_correct", "reader_correct"] if answers else []
        for name in names:
            close(out[name].float(), np.asarray(wanted[prefix + name], np.float32))
        assert answers or out.loss is None
    hidden = model.realm(common["input_ids"], common["attention_mask"], common["token_type_ids"]).last_hidden_state
    scores, starts, ends = model.qa_outputs(hidden, common["block_mask"][: len(hidden)])
    inside = wanted["reader_logits_plus_relevance"] > -1e30
    ours = (scores + common["relevance_score"][: len(hidden), None]).numpy()
    assert np.array_equal(ours > -1e30, inside)
    close(ours[inside], wanted["reader_logits_plus_relevance"][inside])
    assert np.array_equal(starts, wanted["candidate_starts"])
    assert np.array_equal(ends, wanted["candidate_ends"])


@torch.no_grad()
def test_open_question_answering(retriever, tokenizer):
    model, inputs, wanted = load(RealmForOpenQA, "openqa", retriever=retriever)
    names = ["block_idx", "candidate", "start_pos", "end_pos"]
    losses = ["loss", "retriever_loss", "reader_loss", "retriever_correct", "reader_correct"]
    for case in json.loads((FOLDER / "openqa" / "cases.json").read_text()):
        prefix = case["prefix"]
        mode, number, _ = prefix.split(".", 2)
        model.train(mode == "train")
        question = {
            name.removeprefix(f"{number}."): each for name, each in inputs.items() if name.startswith(f"{number}.")
        }
        out = model(**question, answer_ids=case["answer_ids"])
        for name in [*names, *(losses if case["answer_ids"] is not None else [])]:
            close(out.reader_output[name].float(), np.asarray(wanted[prefix + name], np.float32))
        assert np.array_equal(out.predicted_answer_ids, wanted[prefix + "predicted_answer_ids"])
        assert tokenizer.decode(out.predicted_answer_ids) == case["predicted_answer"]


def test_retriever(retriever):
    for case in zipped(FOLDER / "retriever_cases.json.gz"):
        if case["tokenizer"] != "fast":  # transformers 5 has no slow BERT tokenizer; it cut long pairs otherwise
            continue
        ids, question = torch.tensor(case["retrieved_block_ids"]), torch.tensor(case["question_input_ids"])
        has, starts, ends, inputs = retriever(ids, question, case["answer_ids"], max_length=case["max_length"])
        assert (has, starts, ends) == (case["has_answers"], case["start_pos"], case["end_pos"])
        assert {name: each.tolist() for name, each in inputs.items()} == case["concat_inputs"]


@pytest.mark.parametrize(
    "form", [lambda ids: ids, lambda ids: tuple(map(tuple, ids)), lambda ids: [torch.tensor(i) for i in ids]]
)
def test_block_has_answer(retriever, form):
    found = json.loads((FOLDER / "block_has_answer.json").read_text())
    for case in found["cases"]:
        has, starts, ends = retriever.block_has_answer({"input_ids": found["input_ids"]}, form(case["answer_ids"]))
        assert (has, starts, ends) == (case["has_answers"], case["start_pos"], case["end_pos"])


def test_tokenizer(tokenizer):
    for case in zipped(FOLDER / "tokenizer_cases.json.gz"):
        if case["tokenizer"] != "fast" or "result" not in case or "batch_encode" not in case["call"]:
            continue
        how = {"return_tensors": "pt"} if "return_tensors" in case["call"] else {}
        ours = tokenizer.batch_encode_candidates(case["text"], **how, **case["kwargs"])
        assert {name: each.tolist() if how else each for name, each in ours.items()} == case["result"]
