"""Linear layers on a CPU: their weights laid out once for oneDNN, instead of by the product each time, or by MKL.

torch multiplies float32 by MKL and lets oneDNN rearrange bfloat16 weights at every product. With weights that lie ready
the same product takes 0.7 to 0.85 of the time in float32 and 0.85 to 0.95 in bfloat16, of one token half (AMD EPYC with
AVX-512, one thread, 768 × 3072, 1 to 4,000 tokens, each number of tokens new). The operators are those that
``torch.compile`` uses when it freezes a model, which would take a C++ compiler and minutes.

Numbers differ from torch's own only by the order of additions: 4e-6 of a sum of 768 products in float32.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch.nn.functional import linear
from torch.utils._pytree import tree_map_only

from stages.hardware import native_bfloat16

LEAST = 1 << 17
"""Weights of a layer from which it is worth it: an oneDNN product costs 25 µs however small it is."""


def lay_out(model: torch.nn.Module) -> None:
    """Lays out the weights of the model's linear layers, in float32 and bfloat16, where oneDNN is there for them.

    The model then is for inference alone. A weight takes the memory that it took; one that other layers share (a tied
    embedding) stays with them, and takes its own once more.
    """
    for layer in model.modules():
        weight = layer._parameters.get("weight") if type(layer) is torch.nn.Linear else None
        if weight is not None and weight.numel() >= LEAST and _can(weight):
            laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
            layer.weight = torch.nn.Parameter(LaidOut(laid_out), requires_grad=False)


def _can(weight: torch.Tensor) -> bool:
    if weight.device.type != "cpu" or platform.machine() not in {"x86_64", "AMD64"}:
        return False  # elsewhere it was not measured
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and native_bfloat16(weight.device))


class LaidOut(torch.Tensor):
    """A weight (outputs × inputs) that only ``linear`` sees as it lies; to any other function it is itself again."""

    laid_out: torch.Tensor

    @staticmethod
    def __new__(cls: type[LaidOut], laid_out: torch.Tensor) -> LaidOut:
        """Of what ``_reorder_linear_weight`` gives; itself without memory."""
        made: LaidOut = torch.Tensor._make_wrapper_subclass(cls, laid_out.shape, dtype=laid_out.dtype)
        made.laid_out = laid_out
        return made

    # Two hooks, because the first is quicker (4 to 18 µs of a product's 60 to 90 of one token), and the second alone is
    # asked when C++ looks at the weight.

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """``linear`` goes to oneDNN; all else takes torch's way."""
        with torch._C.DisableTorchFunctionSubclass():
            call = _product if func is linear and not torch.is_grad_enabled() else func
            return call(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Any other operator is given the plain weight."""
        if func is torch.ops.aten.detach.default:  # as torch.nn.Parameter does
            return cls(args[0].laid_out)
        args, kwargs = tree_map_only(cls, lambda one: one.laid_out.to_dense(), (args, kwargs or {}))
        return func(*args, **kwargs)


def _product(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:  # noqa: A002
    """``torch.nn.functional.linear``."""
    if not isinstance(weight, LaidOut) or input.dtype != weight.dtype or input.numel() == 0:
        return linear(input, weight, bias)
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(input, weight.laid_out, bias, "none", [], "")
    return product
