"""Batch norm over all workers' batches: torch's own on GPUs, and the same numbers on CPUs, where torch's raises.

``convert`` makes every batch norm of a model, frozen ones too, a trainable one whose mean and variance are those of all
workers' examples together. Ranks may hold different numbers of them, or none.

Forward is one all-gather: each rank's count, means and summed squared deviations, joined as in Chan, Golub and LeVeque
1979 (nothing cancels where means are large). Backward is one all-reduce of the two sums that the gradient of the input
needs; gradients of weight and bias stay those of the rank's own examples, as in any data-parallel layer.

N examples and positions of a rank, C channels, R ranks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

MOMENTUM = 0.1
"""Share of a new batch in the running statistics of norms that were frozen and so have none."""
_PARTS = ("weight", "bias", "running_mean", "running_var")


def convert(module: nn.Module, process_group: dist.ProcessGroup | None = None) -> nn.Module:
    """The module with its batch norms, plain or frozen, made trainable and synchronised within ``process_group``.

    Changed in place, except where ``module`` itself is a norm. A norm is frozen that has weight, bias, running_mean and
    running_var as buffers, or does not train them. Names in the state dict stay as they were, so that checkpoints of
    before and after fit each other.
    """
    if is_batch_norm(module):
        return _converted(module, process_group)
    for name, child in module.named_children():
        new = convert(child, process_group)
        if new is not child:
            setattr(module, name, new)
    return module


def has_batch_norm(module: nn.Module) -> bool:
    """Whether ``convert`` would find something to do."""
    return any(is_batch_norm(one) for one in module.modules())


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module normalises by statistics that it keeps, by its class or by its parts."""
    if isinstance(module, (SyncBatchNorm, nn.SyncBatchNorm)):
        return False
    if isinstance(module, _BatchNorm):
        return bool(module.affine and module.track_running_stats)
    parts = [getattr(module, name, None) for name in _PARTS]
    return all(isinstance(one, Tensor) and one.ndim == 1 for one in parts) and not list(module.children())


def _converted(norm: nn.Module, group: dist.ProcessGroup | None) -> nn.Module:
    weight, bias, mean, variance = (_tensor(norm, name) for name in _PARTS)
    counted = "num_batches_tracked" in dict(norm.named_buffers(recurse=False))
    count = _tensor(norm, "num_batches_tracked") if counted else mean.new_zeros((), dtype=torch.long)
    momentum = norm.momentum if isinstance(norm, _BatchNorm) else MOMENTUM
    kind: type[SyncBatchNorm | nn.SyncBatchNorm] = _OnGPU if weight.is_cuda else SyncBatchNorm
    new = kind(len(weight), eps=float(getattr(norm, "eps", 1e-5)), momentum=momentum, process_group=group)
    new.weight, new.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    new.running_mean, new.running_var = mean, variance
    new.register_buffer("num_batches_tracked", count, persistent=counted)
    return new.train(norm.training)


def _tensor(norm: nn.Module, name: str) -> Tensor:
    found = getattr(norm, name)
    assert isinstance(found, Tensor)
    return found


class _NamesAsBefore:
    """A norm whose count of batches is no part of the state dict if it was none before."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:  # noqa: ANN401
        name = f"{prefix}num_batches_tracked"
        before = name in state_dict
        super()._load_from_state_dict(state_dict, prefix, *more)  # type: ignore[misc]
        if not before:
            state_dict.pop(name, None)  # torch adds it to state dicts of its first version
            unexpected = more[3]
            if name in unexpected:
                unexpected.remove(name)


class _OnGPU(_NamesAsBefore, nn.SyncBatchNorm):
    """torch's, for CUDA tensors."""


class SyncBatchNorm(_NamesAsBefore, _BatchNorm):
    """Batch norm over the batches of all ranks, for any device and backend; (N, C, …) to the same.

    In evaluation mode, or without a process group of several, it is plain batch norm.
    """

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = MOMENTUM,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        if input.ndim < 2:
            raise ValueError(f"expected (N, C, …), not {input.ndim} dimensions")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """The batch normalised. Collective in training mode: every rank must call it."""
        if not self.training or not dist.is_initialized() or dist.get_world_size(self.process_group) == 1:
            return super().forward(input)
        self._check_input_dim(input)
        given = (input, self.weight, self.bias, self.eps, self.process_group)
        out, mean, variance, count = _Normalise.apply(*given)  # type: ignore[no-untyped-call]
        self._keep(mean, variance, float(count))
        assert isinstance(out, Tensor)
        return out

    @torch.no_grad()
    def _keep(self, mean_C: Tensor, variance_C: Tensor, count: float) -> None:
        """Takes the batch into the running statistics; their variance is the unbiased one, as torch's."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance_C * count / max(count - 1, 1)).to(self.running_var.dtype), share)


class _Normalise(Function):
    """(x - mean) / sqrt(variance + eps) · weight + bias with statistics of all ranks, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context
        x: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The output, and the batch's mean (C,), biased variance (C,) and count."""
        wide, axes, shape = _wide(x), [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        own = wide.new_tensor([x.numel() // x.shape[1]])
        mean_C = wide.sum(axes) / own.clamp(min=1)
        squares_C = (wide - mean_C.view(shape)).square().sum(axes)
        gathered_RK = _gathered(torch.cat([own, mean_C, squares_C]), group)
        counts_R1 = gathered_RK[:, :1]
        means_RC, squares_RC = gathered_RK[:, 1:].chunk(2, dim=1)
        count = counts_R1.sum()
        mean_C = (counts_R1 * means_RC).sum(0) / count
        variance_C = (squares_RC + counts_R1 * (means_RC - mean_C).square()).sum(0) / count
        scale_C = (variance_C + eps).rsqrt()
        normal = (wide - mean_C.view(shape)) * scale_C.view(shape)
        ctx.save_for_backward(normal, weight_C, scale_C, count)
        ctx.group, ctx.axes, ctx.shape = group, axes, shape
        out = (normal * _wide(weight_C).view(shape) + _wide(bias_C).view(shape)).to(x.dtype)
        ctx.mark_non_differentiable(mean_C, variance_C, count)
        return out, mean_C, variance_C, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: object) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of input, weight and bias; one all-reduce."""
        normal, weight_C, scale_C, count = ctx.saved_tensors
        wide = _wide(grad)
        sums_2C = torch.cat([wide.sum(ctx.axes), (wide * normal).sum(ctx.axes)])
        of_bias_C, of_weight_C = sums_2C.clone().chunk(2)
        dist.all_reduce(sums_2C, group=ctx.group)
        mean_C, along_C = (sums_2C / count).chunk(2)
        centred = wide - mean_C.view(ctx.shape) - normal * along_C.view(ctx.shape)
        of_input = centred * (_wide(weight_C) * scale_C).view(ctx.shape)
        return of_input.to(grad.dtype), of_weight_C.to(weight_C.dtype), of_bias_C.to(weight_C.dtype), None, None


def _wide(tensor: Tensor) -> Tensor:
    """In float32, or as it is where it has more bits."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _gathered(own_K: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Every rank's row, (R, K)."""
    rows = [torch.empty_like(own_K) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, own_K, group=group)
    return torch.stack(rows)
