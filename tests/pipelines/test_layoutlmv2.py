"""LayoutLMv2's parts: attention, backbone settings, checkpoints as they come, what is refused, what is looked at."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from layoutlmv2_small import batch, config, model, opened
from safetensors.torch import load_file, save_file
from transformers.models.layoutlmv2.modeling_layoutlmv2 import LayoutLMv2Encoder, relative_position_bucket

import pipelines.layoutlmv2 as ours
from pipelines import task
from pipelines.layoutlmv2.attention import Encoder
from pipelines.layoutlmv2.backbone import FPN
from pipelines.layoutlmv2.settings import BackboneSettings
from stages.errors import CheckpointError, UsageError

# ---- attention


@pytest.mark.parametrize("length", [1, 7, 90, 180])
@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, True), (False, False)])
def test_fused_attention_gives_what_transformers_encoder_gives(length, biases):
    one_d, two_d = biases
    about = config(has_relative_attention_bias=one_d, has_spatial_attention_bias=two_d, attn_implementation="sdpa")
    torch.manual_seed(length)
    encoder, theirs = Encoder(about).eval(), LayoutLMv2Encoder(about).eval()
    for weight in encoder.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    theirs.load_state_dict(encoder.state_dict())
    given = batch(length)
    hidden, positions = torch.randn(3, length, 24), torch.randint(0, 200, (3, length))
    there = given["attention_mask"].bool()
    there[:, 0] = True
    for where in (positions, torch.arange(length)[None]):
        places = {"bbox": given["bbox"], "position_ids": where}
        wanted = theirs(hidden, ~there[:, None, None, :], **{**places, "position_ids": where.expand(3, -1)})
        for how in ("sdpa", "eager"):
            about._attn_implementation = how
            found = encoder(hidden, there, **places).last_hidden_state
            torch.testing.assert_close(found, wanted.last_hidden_state, rtol=1e-4, atol=1e-5)


def test_bins_of_all_distances_are_the_original_s():
    encoder = Encoder(config(max_position_embeddings=512))
    for bins, most, buckets, far in ((encoder.bins_1d, 511, 32, 128), (encoder.bins_2d, 1000, 64, 256)):
        distances = torch.arange(-most, most + 1)
        assert torch.equal(bins, relative_position_bucket(distances, num_buckets=buckets, max_distance=far))


def test_gradients_through_the_fused_kernel_are_those_of_eager():
    found = {}
    for how in ("sdpa", "eager"):
        made = model("LayoutLMv2ForTokenClassification", num_labels=4).train()
        made.config._attn_implementation = how
        made(**batch(), labels=torch.arange(60).reshape(3, 20) % 4).loss.backward()
        found[how] = {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}
    assert any("rel_pos_x_bias" in name for name in found["sdpa"])
    for name, gradient in found["eager"].items():
        torch.testing.assert_close(found["sdpa"][name], gradient, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_attentions_and_hidden_states_where_asked_for():
    made = model()
    made.config._attn_implementation = "sdpa"
    given = batch()
    outputs = made(**given, output_attentions=True, output_hidden_states=True)
    assert [one.shape for one in outputs.attentions] == [(3, 3, 69, 69)] * 2
    assert len(outputs.hidden_states) == 3
    torch.testing.assert_close(outputs.attentions[0].sum(-1), torch.ones(3, 3, 69))
    padded = ~given["attention_mask"][1].bool()
    assert outputs.attentions[0][1][:, :, :20][:, :, padded].max() == 0
    plain = made(**given)
    assert (plain.attentions, plain.hidden_states) == (None, None)
    torch.testing.assert_close(plain.last_hidden_state, outputs.last_hidden_state, rtol=1e-4, atol=1e-5)
    assert len(made(**given, return_dict=False)) == 2


@torch.no_grad()
@pytest.mark.parametrize("how", ["sdpa", "eager"])
def test_bfloat16_whole_or_by_autocast(how):
    made = model()
    made.config._attn_implementation = how
    wanted = made(**batch()).last_hidden_state
    with torch.autocast("cpu", torch.bfloat16):
        mixed = made(**batch()).last_hidden_state
    whole = made.to(torch.bfloat16)(**batch()).last_hidden_state
    for found in (mixed, whole):
        assert (found.float() - wanted).abs().mean() < 0.1 * wanted.std()


def test_gradient_checkpointing_changes_no_gradient():
    found = []
    for less_memory in (False, True):
        made = model("LayoutLMv2ForTokenClassification", num_labels=4).train()
        if less_memory:
            made.activation_checkpointing_enable()
        made(**batch(), labels=torch.arange(60).reshape(3, 20) % 4).loss.backward()
        found.append({name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None})
    assert list(found[0]) == list(found[1])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


# ---- arguments


@torch.no_grad()
def test_documented_arguments():
    made, given = model(), batch()
    wanted = made(**given).last_hidden_state
    positions = torch.arange(20).expand(3, -1)
    types = torch.zeros(3, 20, dtype=torch.long)
    embedded = made.get_input_embeddings()(given["input_ids"])
    rest = {name: given[name] for name in ("bbox", "image", "attention_mask")}
    for more in (
        {"input_ids": given["input_ids"], "position_ids": positions, "token_type_ids": types},
        {"inputs_embeds": embedded},
        {"input_ids": given["input_ids"], "image": made.visual(given["image"])},
    ):
        torch.testing.assert_close(made(**{**rest, **more}).last_hidden_state, wanted, rtol=1e-4, atol=1e-5)
    nowhere = torch.zeros(3, 20, 4, dtype=torch.long)
    without = {name: each for name, each in given.items() if name != "bbox"}
    torch.testing.assert_close(made(**without).last_hidden_state, made(**{**given, "bbox": nowhere}).last_hidden_state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "needs image"),
        ({"input_ids": None}, "either input_ids or inputs_embeds"),
        ({"bbox": torch.full((3, 20, 4), 1001)}, "bbox must be"),
        ({"bbox": torch.tensor([9, 0, 3, 5]).expand(3, 20, 4)}, "bbox must be"),
        ({"bbox": torch.full((3, 20, 4), -1)}, "bbox must be"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        model()(**{**batch(), **change})


@pytest.mark.parametrize(
    ("changes", "labels", "kind"),
    [
        ({"num_labels": 1}, torch.tensor([0.5, 1.0, -1.0]), "regression"),
        ({"num_labels": 4}, torch.tensor([0, 3, 1]), "single_label_classification"),
        ({"num_labels": 4}, torch.eye(4)[:3], "multi_label_classification"),
    ],
)
def test_a_page_s_loss_goes_by_the_problem_type(changes, labels, kind):
    made = model("LayoutLMv2ForSequenceClassification", **changes)
    loss = made(**batch(), labels=labels).loss
    assert math.isfinite(float(loss.detach()))
    assert made.config.problem_type == kind


# ---- the backbone


def test_a_light_backbone_learns_wholly_and_is_light():
    made = model().visual
    weights = dict(made.named_parameters())
    assert sum(weight.numel() for weight in weights.values()) < 500_000
    assert {name for name, weight in weights.items() if not weight.requires_grad} == {
        f"backbone.fpn_output{n}.{part}" for n in (3, 4, 5) for part in ("weight", "bias")
    }
    assert made(batch()["image"]).shape == (3, 49, 32)


def test_depth_width_and_stride_are_settings():
    light = BackboneSettings.of(ours.LIGHT)
    deep = BackboneSettings.of({**ours.LIGHT, "MODEL.RESNETS.DEPTH": 50, "MODEL.RESNETS.NUM_GROUPS": 2})
    first = BackboneSettings.of({**ours.LIGHT, "MODEL.RESNETS.STRIDE_IN_1X1": True, "MODEL.BACKBONE.FREEZE_AT": 3})
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        shapes = {tuple(FPN(each)(images)["p5"].shape) for each in (light, deep, first)}
    assert shapes == {(1, 32, 2, 3)}
    assert [len(getattr(FPN(deep).bottom_up, f"res{n}")) for n in (2, 3, 4, 5)] == [3, 4, 6, 3]
    resnet = FPN(first).bottom_up
    assert resnet.res3[0].conv1.stride == (2, 2)
    assert [any(w.requires_grad for w in part.parameters()) for part in (resnet.stem, resnet.res3, resnet.res4)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"MODEL.RESNETS.DEPTH": 18}, "MODEL.RESNETS.DEPTH must be one of 14, 26, 50, 101, 152, not 18"),
        ({"MODEL.RESNETS.NORM": "GN"}, "MODEL.RESNETS.NORM must be 'FrozenBN'"),
        ({"MODEL.RESNETS.NUM_GROUPS": "x"}, "NUM_GROUPS must be a whole number"),
        ({"MODEL.PIXEL_STD": [1.0]}, "PIXEL_STD must be three numbers"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused(args, message):
    with pytest.raises(UsageError, match=message):
        BackboneSettings.of({**ours.LIGHT, **args})


# ---- checkpoints


def test_what_is_saved_comes_back(tmp_path):
    made = model("LayoutLMv2ForTokenClassification", num_labels=3)
    made.save_pretrained(tmp_path)
    back, found = ours.LayoutLMv2ForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found.values())
    assert torch.equal(back.layoutlmv2.visual.pixel_std, made.layoutlmv2.visual.pixel_std)
    assert torch.equal(back.layoutlmv2.encoder.bins_2d, made.layoutlmv2.encoder.bins_2d)
    with torch.no_grad():
        torch.testing.assert_close(back(**batch()).logits, made(**batch()).logits)
    assert back.config.architectures == ["LayoutLMv2ForTokenClassification"]


def test_the_base_checkpoint_serves_every_head(tmp_path):
    """As published, it has counters of norms that were synchronised, buffers of old releases, and another prefix."""
    made = model()
    made.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    counters = {f"{name.removesuffix('running_var')}num_batches_tracked" for name in weights if "running_var" in name}
    old = {name: torch.zeros((), dtype=torch.long) for name in counters}
    old |= {"visual.pixel_mean": torch.zeros(3, 1, 1), "embeddings.position_ids": torch.zeros(1, 200)}
    prefixed = {f"layoutlmv2.{name}": entry for name, entry in {**weights, **old}.items()}
    save_file(prefixed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for name, head in (
        ("LayoutLMv2Model", set()),
        ("LayoutLMv2ForTokenClassification", {"classifier.weight", "classifier.bias"}),
        ("LayoutLMv2ForSequenceClassification", {"classifier.weight", "classifier.bias"}),
        (
            "LayoutLMv2ForQuestionAnswering",
            {"qa_outputs.weight", "qa_outputs.bias", "layoutlmv2.visual_segment_embedding"},
        ),
    ):
        back, found = getattr(ours, name).from_pretrained(tmp_path, output_loading_info=True)
        assert set(found["missing_keys"]) == head
        assert not found["unexpected_keys"]
        assert float(back.base_model.visual.pixel_mean[0]) == pytest.approx(103.53)
        assert torch.equal(back.base_model.embeddings.position_ids[0], torch.arange(200))


def test_fresh_norms_change_nothing_at_first():
    torch.manual_seed(0)
    made = ours.LayoutLMv2Model(config())
    norm = made.visual.backbone.bottom_up.stem.conv1.norm
    images = torch.rand(1, 16, 4, 4)
    torch.testing.assert_close(norm(images), images)
    assert not made.encoder.layer[0].attention.self.q_bias.any()


def test_a_checkpoint_without_the_head_is_refused_and_without_unused_weights_is_not(tmp_path, tiny):
    kind = task("layoutlmv2", "token-classification")
    shutil.copytree(tiny("layoutlmv2", "features"), tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"classifier\.bias, classifier\.weight"):
        opened(kind, tmp_path / "base")
    shutil.copytree(tiny("layoutlmv2", kind.name), tmp_path / "token")
    weights = load_file(tmp_path / "token" / "model.safetensors")
    kept = {name: entry for name, entry in weights.items() if "pooler" not in name and "fpn_output4" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "token" / "model.safetensors", metadata={"format": "pt"})
    opened(kind, tmp_path / "token")
