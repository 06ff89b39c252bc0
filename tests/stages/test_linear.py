"""Laid out weights multiply as plain ones do, and are plain to everything else."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import linear

from stages import hardware
from stages.linear import LEAST, LaidOut, lay_out

WIDE = 512


@pytest.fixture(autouse=True)
def threads() -> None:
    """With more than OpenMP gives, oneDNN leaves out half of a product (stages/hardware.py)."""
    hardware.use_threads(0)


def layer(dtype: torch.dtype = torch.float32, *, bias: bool = True) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """A layer, and the same one laid out."""
    torch.manual_seed(0)
    plain = torch.nn.Linear(WIDE, WIDE, bias=bias).to(dtype)
    ours = copy.deepcopy(plain)
    lay_out(ours)
    worth_it = dtype is torch.float32 or hardware.native_bfloat16(torch.device("cpu"))
    assert isinstance(ours.weight, LaidOut) == worth_it
    return plain, ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(
    shape=st.lists(st.integers(0, 9), max_size=3), bias=st.booleans(), transposed=st.booleans(), inference=st.booleans()
)
def test_products_are_those_of_plain_weights(dtype, shape, bias, transposed, inference):
    plain, ours = layer(dtype, bias=bias)
    x = torch.randn(*shape, WIDE).to(dtype)
    if transposed and x.dim() > 1:
        x = x.transpose(0, -2)
    with torch.inference_mode(inference):
        close = 1e-5 if dtype is torch.float32 else 0.01
        torch.testing.assert_close(ours(x), plain(x), rtol=close, atol=close)


def test_to_all_else_the_weight_is_itself():
    plain, ours = layer()
    assert (ours.weight.shape, ours.weight.dtype, ours.weight.device) == (
        plain.weight.shape,
        plain.weight.dtype,
        plain.weight.device,
    )
    assert torch.equal(ours.weight.t(), plain.weight.t())
    assert torch.equal(torch.cat([ours.weight, plain.weight]), torch.cat([plain.weight, plain.weight]))
    x = torch.randn(3, WIDE, requires_grad=True)
    linear(x, ours.weight).sum().backward()
    gradient, x.grad = x.grad, None
    linear(x, plain.weight).sum().backward()
    assert torch.equal(gradient, x.grad)
    with torch.inference_mode():
        assert torch.equal(linear(ours.weight, plain.weight), linear(plain.weight, plain.weight))


def test_what_is_small_shared_or_no_linear_layer_stays():
    small = torch.nn.Linear(8, 8)
    embedding = torch.nn.Embedding(WIDE, WIDE)
    tied = torch.nn.Linear(WIDE, WIDE, bias=False)
    tied.weight = embedding.weight
    model = torch.nn.ModuleList([small, embedding, tied, torch.nn.Conv1d(WIDE, WIDE, 1)])
    lay_out(model)
    assert small.weight.numel() < LEAST
    laid_out = [isinstance(one.weight, LaidOut) for one in model]
    assert laid_out == [False, False, True, False]


def test_a_layer_in_another_format_than_its_input_is_refused_as_ever():
    _, ours = layer()
    with torch.inference_mode(), pytest.raises(RuntimeError, match="dtype"):
        ours(torch.randn(2, WIDE, dtype=torch.bfloat16))


def test_bfloat16_stays_where_the_processor_does_not_compute_in_it(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx512f"}))
    layer(torch.bfloat16)
