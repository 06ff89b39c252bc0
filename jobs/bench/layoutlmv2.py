"""LayoutLMv2's forward: biased attention through torch's fused kernel, beside eager attention, ours and transformers'.

Base size with random weights, windows of two lengths, 49 visual tokens each. Transformers' encoder has the same
weights and gives the same numbers; its whole model cannot be built without detectron2, so "forward" with it is ours
around its encoder. Training steps are forward and backward of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.bench.common.ask import Ask
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.turns import Contender, in_turn
from stages.hardware import exact_float32, pick_device

if TYPE_CHECKING:
    import torch

LENGTHS, QUICK_LENGTHS = (128, 512), (16, 48)
"""Text tokens of a window."""
BATCH = {"cpu": 2, "cuda": 32}
FUSED, EAGER, THEIRS = "ours, SDPA", "ours, eager", "transformers, eager"
FORWARD, ENCODER, STEP = "forward", "encoder", "encoder, training step"
TOLERANCE = 1e-4
"""Largest difference between the contenders' last hidden states that random weights leave room for."""


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """One batch of windows."""

    length: int
    arguments: Mapping[str, torch.Tensor]

    @property
    def tokens(self) -> int:
        """Tokens of a window, visual ones counted."""
        return self.length + 49


def measure(ask: Ask) -> Report:
    """Milliseconds of a batch by length and contender, and how many times as fast the fused kernel is."""
    import torch

    ask.refuse_data("layoutlmv2")
    device = pick_device("auto")
    exact_float32()
    torch.set_num_threads(cores())
    model, theirs = _models(device, small=ask.quick)
    batch = 2 if ask.quick else BATCH[device.type]
    rows: list[tuple[Cell, ...]] = []
    checks: list[Check] = []
    apart = 0.0
    for length in QUICK_LENGTHS if ask.quick else LENGTHS:
        inputs = _inputs(model, batch, length, device)
        apart = max(apart, _apart(model, theirs, inputs))
        for what in (FORWARD, ENCODER, STEP):
            taken = in_turn(_contenders(model, theirs, inputs, what, turns=1 if ask.quick else 3))
            named = {name: taken[f"{what}, {length} tokens, {name}"] for name in (FUSED, EAGER, THEIRS)}
            rows += [(what, length, name, 1000 * seconds, named[THEIRS] / seconds) for name, seconds in named.items()]
            if what != STEP:
                best = f"{what} at {length} text tokens, SDPA against {THEIRS}"
                checks.append(Check(what=best, figure=named[THEIRS] / named[FUSED], mark=1.0))
    columns = ("what", "text tokens", "contender", "ms a batch", f"× {THEIRS}")
    return Report(
        bench="layoutlmv2",
        title="LayoutLMv2, fused attention with its biases",
        command=ask.command("layoutlmv2"),
        tables=(Table(title=f"{batch} windows, float32, {device.type}", columns=columns, rows=tuple(rows)),),
        checks=() if ask.quick else tuple(checks),
        notes=(
            f"last hidden states of the three differ by {apart:.1e} at most (allowed: {TOLERANCE:.0e})",
            "random weights of base size; medians of 3; a quarter of each window is padding",
        ),
        versions=versions("torch", "transformers"),
    )


def _models(device: torch.device, *, small: bool) -> tuple[Any, Any]:
    """Our model and transformers' encoder with its weights."""
    import torch
    from transformers import LayoutLMv2Config
    from transformers.models.layoutlmv2.modeling_layoutlmv2 import LayoutLMv2Encoder

    from pipelines.layoutlmv2 import LIGHT, LayoutLMv2Model

    sizes: dict[str, Any] = {}
    if small:
        sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
        sizes |= {"coordinate_size": 8, "shape_size": 8, "image_feature_pool_shape": [7, 7, 32]}
        sizes["detectron2_config_args"] = dict(LIGHT)
    torch.manual_seed(0)
    config = LayoutLMv2Config(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model: Any = LayoutLMv2Model(config)
    theirs = LayoutLMv2Encoder(config).to(device).eval()  # type: ignore[no-untyped-call]
    model.to(device).eval()
    theirs.load_state_dict(model.encoder.state_dict())
    return model, theirs


def _inputs(model: Any, batch: int, length: int, device: torch.device) -> _Inputs:  # noqa: ANN401
    """Random words and boxes, the last quarter of each window padding, and random pixels."""
    import torch

    torch.manual_seed(length)
    corners = torch.randint(0, 900, (batch, length, 2))
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[:, length - length // 4 :] = 0
    arguments = {
        "input_ids": torch.randint(5, model.config.vocab_size, (batch, length)),
        "bbox": torch.cat([corners, corners + torch.randint(0, 100, (batch, length, 2))], dim=-1),
        "attention_mask": mask,
        "image": torch.randint(0, 256, (batch, 3, 224, 224), dtype=torch.uint8),
    }
    return _Inputs(length=length, arguments={name: each.to(device) for name, each in arguments.items()})


class _Theirs:
    """Transformers' encoder in our model's place: its mask is a truth value, True where there is nothing."""

    def __init__(self, encoder: Any) -> None:  # noqa: ANN401
        self._encoder = encoder

    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor, **places: Any) -> Any:  # noqa: ANN401
        return self._encoder(hidden, ~mask[:, None, None, :], **places)


def _encoded(model: Any, theirs: Any, inputs: _Inputs, name: str) -> Callable[[], Any]:  # noqa: ANN401
    """The encoder of that contender on the batch."""
    import torch

    device = inputs.arguments["input_ids"].device
    batch = len(inputs.arguments["input_ids"])
    torch.manual_seed(1)
    hidden = torch.randn(batch, inputs.tokens, model.config.hidden_size, device=device)
    mask = torch.nn.functional.pad(inputs.arguments["attention_mask"].bool(), (0, 49), value=True)
    bbox = torch.cat([inputs.arguments["bbox"], model._fields(batch, device)], dim=1)
    positions = torch.cat([torch.arange(inputs.length, device=device), torch.arange(49, device=device)])[None]
    encoder = _Theirs(theirs) if name == THEIRS else model.encoder

    def run() -> Any:  # noqa: ANN401
        model.config._attn_implementation = "sdpa" if name == FUSED else "eager"
        where = positions.expand(batch, -1) if name == THEIRS else positions
        return encoder(hidden, mask, bbox=bbox, position_ids=where).last_hidden_state

    return run


def _apart(model: Any, theirs: Any, inputs: _Inputs) -> float:  # noqa: ANN401
    """The largest difference between the contenders, where there is no padding. Raises ValueError above TOLERANCE."""
    import torch

    with torch.inference_mode():
        found = [_encoded(model, theirs, inputs, name)() for name in (FUSED, EAGER, THEIRS)]
    apart = max(float((one - found[2]).abs().max()) for one in found[:2])
    if apart > TOLERANCE:
        raise ValueError(f"the contenders' numbers differ by {apart:.1e}: a time of one says nothing of the other")
    return apart


def _contenders(model: Any, theirs: Any, inputs: _Inputs, what: str, turns: int) -> list[Contender]:  # noqa: ANN401
    return [
        Contender(
            name=f"{what}, {inputs.length} tokens, {name}",
            seconds=_seconds(_work(model, theirs, inputs, what, name), inputs.arguments["input_ids"].device),
            turns=turns,
        )
        for name in (FUSED, EAGER, THEIRS)
    ]


def _work(model: Any, theirs: Any, inputs: _Inputs, what: str, name: str) -> Callable[[], object]:  # noqa: ANN401
    import torch

    encode = _encoded(model, theirs, inputs, name)

    def step() -> None:
        encode().sum().backward()

    @torch.inference_mode()
    def encoder() -> None:
        encode()

    @torch.inference_mode()
    def forward() -> None:
        model.config._attn_implementation = "sdpa" if name == FUSED else "eager"
        if name != THEIRS:
            model(**inputs.arguments)
            return
        model.see(inputs.arguments["image"])  # the rest of the forward is the same work, but for the encoder
        encode()

    return {STEP: step, ENCODER: encoder, FORWARD: forward}[what]


def _seconds(work: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """``work`` as something that says how long it took, the device's own time included; warmed up once."""
    import time

    import torch

    work()

    def seconds() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    return seconds
