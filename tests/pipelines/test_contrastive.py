"""Contrastive training: workers with some pairs each are one with all of them; the locked tower stays as it is."""

from __future__ import annotations

import pytest
import torch
from contrast_targets import PAIRS, made, pairs, step
from transformers import VisionTextDualEncoderModel

from stages.errors import Code, RowError


def test_workers_with_some_pairs_each_are_one_with_all_of_them(gloo, tiny):
    folder = str(tiny("vision_text_dual_encoder", "features"))
    # Not in this process: where OMP_THREAD_LIMIT, which tesseract needs, is below torch's number of threads, oneDNN
    # never ends a convolution's gradient, or leaves half of it unset.
    (alone,) = gloo.call(step, folder, 1, world=1)
    for world in (2, 3):
        ranks = gloo.call(step, folder, world, world=world)
        assert sum(one["loss"] for one in ranks) == pytest.approx(alone["loss"], rel=1e-5)
        for one in ranks:
            assert one["gradients"].keys() == alone["gradients"].keys()
            for name, gradient in alone["gradients"].items():
                torch.testing.assert_close(one["gradients"][name], gradient, rtol=1e-3, atol=1e-5)


def test_the_loss_is_that_of_transformers(tiny):
    folder = str(tiny("vision_text_dual_encoder", "features"))
    found = made(folder)
    batch = dict(found.collate([one for row in pairs() for one in found.encode_labels(row, found.encode(row))]))
    batch.pop("labels")
    with torch.no_grad():
        theirs = VisionTextDualEncoderModel.from_pretrained(folder)(**batch, return_loss=True).loss
    assert step(0, folder, 1)["loss"] == pytest.approx(float(theirs), rel=1e-5)
    assert len(batch["input_ids"]) == PAIRS


def test_a_locked_image_tower_is_not_trained(tiny):
    found = made(str(tiny("vision_text_dual_encoder", "features")), lock_image=True)
    trained = {name.split(".")[0] for name, one in found.model.named_parameters() if one.requires_grad}
    assert trained == {"text_model", "visual_projection", "text_projection", "logit_scale"}


def test_a_pair_is_an_image_and_its_text(tiny):
    found = made(str(tiny("vision_text_dual_encoder", "features")))
    row = {"picture": None, "text": "alone"}
    with pytest.raises(RowError, match="no image") as raised:
        found.encode_labels(row, found.encode(row))
    assert raised.value.code is Code.ENCODE_FAILED
