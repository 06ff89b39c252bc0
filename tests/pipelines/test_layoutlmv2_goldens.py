"""LayoutLMv2 against numbers that transformers gave with real detectron2 (tests/goldens/layoutlmv2/README.md)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import draw_weights
from transformers import LayoutLMv2Config
from transformers.initialization import no_init_weights

import pipelines.layoutlmv2 as ours

GOLDENS = Path(__file__).parent.parent / "goldens" / "layoutlmv2"
VISUAL, REST = 5e-4, 1e-4
SYNC_VISUAL, SYNC_REST = 1e-2, 3e-3
SYNC = "sync.train.after_one_forward."
CLASSES = {
    "base": "LayoutLMv2Model",
    "base_slowqkv_nobias": "LayoutLMv2Model",
    "token": "LayoutLMv2ForTokenClassification",
    "qa": "LayoutLMv2ForQuestionAnswering",
    "seq": "LayoutLMv2ForSequenceClassification",
}
NOTES = json.loads((GOLDENS / "notes.json").read_text())


def zipped(name: str):
    return json.loads(gzip.decompress((GOLDENS / f"{name}.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def given() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(GOLDENS / "inputs.npz").items()}


@pytest.fixture(scope="module")
def wanted() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDENS / "outputs.npz"))


@pytest.fixture(scope="module")
def base():
    """The base model, for tests that leave its weights alone."""
    return made("base")


def made(name: str):
    config = LayoutLMv2Config.from_json_file(GOLDENS / f"config.{name}.json")
    with no_init_weights():
        model = getattr(ours, CLASSES[name])(config).eval()
    draw_weights(model)
    return model


def page(given) -> dict[str, torch.Tensor]:
    names = ("input_ids", "bbox", "attention_mask", "token_type_ids", "image")
    return {name: given[name] for name in names}


def close(ours_: torch.Tensor, theirs: np.ndarray, tolerance: float) -> None:
    found = ours_.detach().numpy()
    assert found.shape == theirs.shape
    assert float(np.abs(found - theirs).max()) <= tolerance


def listed(model) -> list[list[object]]:
    return [[name, list(entry.shape), str(entry.dtype)] for name, entry in model.state_dict().items()]


def test_weights_are_drawn_as_the_reference_drew_them(base):
    for name, (total, absolute, *first) in zipped("weights_check")["base"].items():
        entry = base.state_dict()[name].double()
        assert float(entry.abs().sum()) == pytest.approx(absolute, rel=1e-6)
        assert float(entry.sum()) == pytest.approx(total, abs=1e-6 * absolute)
        assert entry.flatten()[:2].tolist() == pytest.approx(first[: entry.numel()], rel=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_names_shapes_and_order_are_the_original_s(name):
    config = LayoutLMv2Config.from_json_file(GOLDENS / f"config.{name}.json")
    with torch.device("meta"):
        assert listed(getattr(ours, CLASSES[name])(config)) == zipped("names")[name]


def test_what_is_frozen_and_what_no_checkpoint_holds(base):
    frozen = {name for name, weight in base.named_parameters() if not weight.requires_grad}
    unused = {name for name in frozen if "fpn_output" in name}
    assert frozen - unused == set(NOTES["requires_grad_false"])
    without_gradient = {name for name, norm in NOTES["token_grad_norms_train_frozen"].items() if norm is None}
    assert {f"layoutlmv2.{name}" for name in unused} < without_gradient
    persistent = set(base.state_dict())
    assert set(NOTES["non_persistent_buffers"]) < {name for name, _ in base.named_buffers() if name not in persistent}
    assert base.visual.pixel_mean.flatten().tolist() == NOTES["pixel_mean"]
    assert base.visual.pixel_std.flatten().tolist() == NOTES["pixel_std"]


@torch.no_grad()
def test_every_level_of_the_backbone(base, given, wanted):
    images = (given["image"] - base.visual.pixel_mean) / base.visual.pixel_std
    backbone = base.visual.backbone
    stem = backbone.bottom_up.stem(images)
    close(stem[:, ::8, ::8, ::8], wanted["base.bottom_up.stem.slice"], VISUAL)
    levels = {**backbone.bottom_up(images), **backbone(images)}
    close(backbone.finest(images), levels["p2"].numpy(), 1e-6)
    close(levels["p2"].mean(dim=(2, 3)), wanted["base.p2.sample_channel_mean"], VISUAL)
    close(levels["p2"].std(dim=(2, 3), correction=0), wanted["base.p2.sample_channel_std"], VISUAL)
    for name, level in levels.items():
        steps = [max(size // parts, 1) for size, parts in zip(level.shape[1:], (16, 7, 7), strict=True)]
        close(level[:, :: steps[0], :: steps[1], :: steps[2]], wanted[f"base.{name}.slice"], VISUAL)
        close(level.mean(dim=(0, 2, 3)), wanted[f"base.{name}.channel_mean"], VISUAL)
        close(level.std(dim=(0, 2, 3), correction=0), wanted[f"base.{name}.channel_std"], VISUAL)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_model_in_evaluation(base, given, wanted, attention):
    base.eval().config._attn_implementation = attention
    seen = base.see(given["image"])
    close(seen, wanted["base.visual"], VISUAL)
    outputs = base(**{**page(given), "image": seen}, output_hidden_states=True)
    close(outputs.last_hidden_state, wanted["base.last_hidden_state"], REST)
    close(outputs.pooler_output, wanted["base.pooler_output"], REST)
    assert len(outputs.hidden_states) == 3
    for n, hidden in enumerate(outputs.hidden_states):
        close(hidden, wanted[f"base.hidden_states.{n}"], REST)


@torch.no_grad()
def test_an_image_of_another_size_and_no_mask(base, given, wanted):
    seen = base.visual(given["image_rect"])
    close(seen, wanted["base.visual_rect"], VISUAL)
    outputs = base(input_ids=given["input_ids"], bbox=given["bbox"], image=seen)
    close(outputs.last_hidden_state, wanted["base.rect_nomask.last_hidden_state"], REST)


def test_training_with_frozen_norms(base, given, wanted):
    outputs = base.train()(**page(given))
    assert outputs.last_hidden_state.requires_grad
    close(outputs.last_hidden_state, wanted["base.train_frozen.last_hidden_state"], REST)


@torch.no_grad()
def test_other_attention_settings(given, wanted):
    model = made("base_slowqkv_nobias")
    close(model(**page(given)).last_hidden_state, wanted["base_slowqkv_nobias.last_hidden_state"], REST)


def test_token_classification_with_loss_and_gradients(given, wanted):
    model = made("token").train()
    outputs = model(**page(given), labels=given["token_labels"])
    close(outputs.logits, wanted["token.logits"], REST)
    for name in ("token.loss", "token.train_frozen.loss"):
        close(outputs.loss, wanted[name], REST)
    outputs.loss.backward()
    weights = dict(model.named_parameters())
    for name in (name for name in wanted if name.startswith("token.grad.")):
        close(weights[name.removeprefix("token.grad.")].grad, wanted[name], REST)
    norms = NOTES["token_grad_norms_train_frozen"]
    for name, norm in norms.items():
        if norm is not None:
            assert float(weights[name].grad.norm()) == pytest.approx(norm, rel=2e-3)
    ours_only = {name for name, norm in norms.items() if norm is None and weights[name].grad is not None}
    biases = ("rel_pos_bias", "rel_pos_x_bias", "rel_pos_y_bias")
    assert ours_only == {f"layoutlmv2.encoder.{name}.weight" for name in biases}  # trained, as in the paper
    waited_for = {name for name, weight in weights.items() if weight.requires_grad and weight.grad is None}
    assert not waited_for, "distributed training would wait for these gradients for ever"


@torch.no_grad()
def test_question_answering(given, wanted):
    positions = {name: given[name] for name in ("start_positions", "end_positions")}
    outputs = made("qa")(**page(given), **positions)
    close(outputs.start_logits, wanted["qa.start_logits"], REST)
    close(outputs.end_logits, wanted["qa.end_logits"], REST)
    close(outputs.loss, wanted["qa.loss"], REST)


@torch.no_grad()
def test_sequence_classification(given, wanted):
    outputs = made("seq")(**page(given), labels=given["sequence_labels"])
    close(outputs.logits, wanted["seq.logits"], REST)
    close(outputs.loss, wanted["seq.loss"], REST)


# ---- synchronised


@pytest.fixture
def alone(tmp_path) -> Iterator[None]:
    """A process group of one."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_synchronised_norms(alone, given, wanted):
    model = made("base")
    model.synchronize_batch_norm()
    model.synchronize_batch_norm()
    names = zipped("names")["base_after_synchronize"]
    assert listed(model) == names
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert {name for name in frozen if "fpn_output" not in name} == set(NOTES["requires_grad_false_after_synchronize"])
    with torch.no_grad():
        close(model.visual(given["image"]), wanted["sync.eval.visual"], VISUAL)
        trained = model.train().visual(given["image"])
        close(trained, wanted["sync.train.visual"], SYNC_VISUAL)
        statistics = model.state_dict()
        for name in (name for name in wanted if name.startswith(SYNC)):
            ours_ = statistics[f"visual.backbone.bottom_up.{name.removeprefix(SYNC)}"]
            close(ours_.double(), wanted[name].astype(np.float64), REST)
        close(model.eval().visual(given["image"]), wanted["sync.eval_after_one_train_forward.visual"], VISUAL)
    outputs = model.train()(**{**page(given), "image": trained})
    close(outputs.last_hidden_state, wanted["sync.train.last_hidden_state"], SYNC_REST)
    assert model.visual.backbone.bottom_up.stem.conv1.norm.weight.requires_grad
