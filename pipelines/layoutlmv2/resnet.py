"""ResNet and ResNeXt with frozen batch norm, under detectron2's names (He et al. 2015, https://arxiv.org/abs/1512.03385;
Xie et al. 2016, https://arxiv.org/abs/1611.05431).

Stem: a 7×7 convolution of stride 2, then a 3×3 maximum of stride 2. Then four stages of bottleneck blocks, ``res2`` to
``res5``, whose first blocks halve the resolution (except res2's) and have a 1×1 ``shortcut``.

Shape suffixes: B images, C channels, Y rows, X columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from pipelines.layoutlmv2.settings import BackboneSettings


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation by statistics that no training changes; all four tensors are buffers."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """Scale and shift; where gradients pass, in the form that keeps the least for the way back."""
        if not images_BCYX.requires_grad:
            statistics = (self.running_mean, self.running_var, self.weight, self.bias)
            return fn.batch_norm(images_BCYX, *statistics, training=False, eps=self.eps)
        scale_C = self.weight * (self.running_var + self.eps).rsqrt()
        shift_C = self.bias - self.running_mean * scale_C
        return images_BCYX * scale_C[:, None, None] + shift_C[:, None, None]


class NormedConv2d(nn.Conv2d):
    """A convolution without bias, and its ``norm``."""

    def __init__(self, inner: int, outer: int, size: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inner, outer, size, stride=stride, padding=size // 2, groups=groups, bias=False)
        self.norm: nn.Module = FrozenBatchNorm2d(outer)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name of torch's own)
        """Convolves and normalises."""
        normed: Tensor = self.norm(super().forward(input))
        return normed


class Stem(nn.Module):
    """The first convolution and the maximum: a quarter of the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = NormedConv2d(3, channels, 7, stride=2)

    def forward(self, images_B3YX: Tensor) -> Tensor:
        """(B, C, Y/4, X/4)."""
        return fn.max_pool2d(fn.relu_(self.conv1(images_B3YX)), kernel_size=3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """1×1 to the inner width, 3×3 in groups, 1×1 to the outer width, and the sum with what came in."""

    def __init__(self, inner: int, width: int, outer: int, *, stride: int, settings: BackboneSettings) -> None:
        super().__init__()
        first, second = (stride, 1) if settings.stride_in_1x1 else (1, stride)
        if inner != outer or stride != 1:
            self.shortcut: nn.Module | None = NormedConv2d(inner, outer, 1, stride=stride)
        else:
            self.shortcut = None
        self.conv1 = NormedConv2d(inner, width, 1, stride=first)
        self.conv2 = NormedConv2d(width, width, 3, stride=second, groups=settings.num_groups)
        self.conv3 = NormedConv2d(width, outer, 1)

    def forward(self, images_BCYX: Tensor) -> Tensor:
        """The block's output."""
        inner = fn.relu_(self.conv2(fn.relu_(self.conv1(images_BCYX))))
        aside = images_BCYX if self.shortcut is None else self.shortcut(images_BCYX)
        return fn.relu_(self.conv3(inner) + aside)


class ResNet(nn.Module):
    """Stem and four stages."""

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        self.stem = Stem(settings.stem_out_channels)
        inner, width, outer = settings.stem_out_channels, settings.num_groups * settings.width_per_group, 0
        for number, blocks in enumerate(settings.blocks, start=2):
            outer = settings.res2_out_channels * 2 ** (number - 2)
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if number > 2 and block == 0 else 1
                stage.append(Bottleneck(inner, width, outer, stride=stride, settings=settings))
                inner = outer
            self.add_module(f"res{number}", stage)
            width *= 2
        self._freeze(settings.freeze_at)

    def _freeze(self, parts: int) -> None:
        """Takes the first ``parts`` of stem, res2, res3 … out of training; their norms stay frozen buffers."""
        for part in [self.stem, *(getattr(self, f"res{number}") for number in range(2, 6))][:parts]:
            part.requires_grad_(False)

    def forward(self, images_B3YX: Tensor) -> dict[str, Tensor]:
        """The four stages' outputs, at 1/4, 1/8, 1/16 and 1/32 of the resolution."""
        found, features = {}, self.stem(images_B3YX)
        for name in ("res2", "res3", "res4", "res5"):
            features = found[name] = getattr(self, name)(features)
        return found
