"""RetriBERT against the numbers of transformers 4.39.3."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from goldens import GOLDENS, arrays, close

from pipelines.retribert import RetriBertModel

FOLDER = GOLDENS / "retribert"


@pytest.fixture(params=["share", "noshare"])
def case(request):
    folder = FOLDER / request.param
    model, told = RetriBertModel.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    return folder, model.eval(), arrays(folder / "inputs.npz", torch.from_numpy), arrays(folder / "outputs.npz")


def pair(inputs, which):
    return inputs[f"input_ids_{which}"], inputs[f"attention_mask_{which}"]


def test_weights_have_their_names(case):
    folder, model, _, _ = case
    keys = json.loads((folder / "state_dict.json").read_text())["keys"]
    assert [(name, tuple(shape)) for name, shape, _ in keys] == [
        (n, tuple(t.shape)) for n, t in model.state_dict().items()
    ]


@torch.no_grad()
def test_vectors_and_loss(case):
    _, model, inputs, wanted = case
    query, doc = pair(inputs, "query"), pair(inputs, "doc")
    close(model.embed_questions(*query), wanted["embed_questions"])
    close(model.embed_answers(*doc), wanted["embed_answers"])
    close(model.embed_questions(query[0]), wanted["embed_questions_nomask"])
    close(model(*query, *doc), wanted["loss"])
    close(model(query[0], None, doc[0], None), wanted["loss_nomask"])
    close(model(query[0], None, doc[0], None, checkpoint_batch_size=2), wanted["loss_nomask"])


@pytest.mark.parametrize(("size", "suffix"), [(-1, ""), (2, "_checkpoint2")])
def test_gradients_do_not_depend_on_how_many_are_encoded_at_once(case, size, suffix):
    _, model, inputs, wanted = case
    loss = model(*pair(inputs, "query"), *pair(inputs, "doc"), checkpoint_batch_size=size)
    close(loss, wanted[f"loss{suffix}"])
    loss.backward()
    query = model.bert_query.encoder.layer[0].attention.self.query.weight
    close(model.project_query.weight.grad, wanted[f"grad_project_query_weight{suffix}"])
    close(query.grad, wanted[f"grad_bert_query_l0_query_weight{suffix}"])


def test_the_goldens_are_numbers(case):
    assert all(np.isfinite(each).all() for each in case[3].values())
