"""LayoutLMv2's eye: a page image to 7 × 7 visual tokens, under the names that detectron2 gave the weights.

A feature pyramid (Lin et al. 2016, https://arxiv.org/abs/1612.03144) over a ResNeXt; the tokens are its finest level,
averaged over 7 × 7 fields. ``synchronize_batch_norm`` makes the frozen norms trainable ones whose statistics are taken
over all workers.

Shape suffixes: B images, C channels, Y rows, X columns, V visual tokens.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from transformers import initialization as init

from pipelines.layoutlmv2.resnet import FrozenBatchNorm2d, NormedConv2d, ResNet
from pipelines.layoutlmv2.settings import BackboneSettings

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from transformers import LayoutLMv2Config

LEVELS = (2, 3, 4, 5)
"""Levels of the pyramid, each from the ResNet's stage of that number."""


class FPN(nn.Module):
    """The pyramid: each level is its stage's 1×1 ``fpn_lateral`` plus the coarser level, through a 3×3 ``fpn_output``.

    The model looks at the finest level alone, so the outputs of the others are not trained.
    """

    def __init__(self, settings: BackboneSettings) -> None:
        super().__init__()
        outer = settings.fpn_out_channels
        for level in LEVELS:
            inner = settings.res2_out_channels * 2 ** (level - 2)
            self.add_module(f"fpn_lateral{level}", nn.Conv2d(inner, outer, 1))
            self.add_module(f"fpn_output{level}", nn.Conv2d(outer, outer, 3, padding=1))
        self.bottom_up = ResNet(settings)
        for level in LEVELS[1:]:
            getattr(self, f"fpn_output{level}").requires_grad_(False)

    def own(self) -> list[nn.Conv2d]:
        """The pyramid's convolutions, without the ResNet's."""
        return [child for child in self.children() if isinstance(child, nn.Conv2d)]

    def finest(self, images_B3YX: Tensor) -> Tensor:
        """Level ``p2``, (B, C, Y/4, X/4)."""
        level: Tensor = self.fpn_output2(self._merged(self.bottom_up(images_B3YX))[2])  # type: ignore[operator]
        return level

    def forward(self, images_B3YX: Tensor) -> dict[str, Tensor]:
        """All levels, ``p2`` to ``p6``, at 1/4 to 1/64 of the resolution."""
        merged = self._merged(self.bottom_up(images_B3YX))
        levels: dict[str, Tensor] = {f"p{n}": getattr(self, f"fpn_output{n}")(merged[n]) for n in LEVELS}
        levels["p6"] = fn.max_pool2d(levels["p5"], kernel_size=1, stride=2)
        return levels

    def _merged(self, stages: dict[str, Tensor]) -> dict[int, Tensor]:
        """Each level before its 3×3 convolution."""
        merged: dict[int, Tensor] = {}
        for level in reversed(LEVELS):
            lateral = getattr(self, f"fpn_lateral{level}")(stages[f"res{level}"])
            coarser = merged.get(level + 1)
            merged[level] = (
                lateral if coarser is None else lateral + fn.interpolate(coarser, scale_factor=2.0, mode="nearest")
            )
        return merged


def fresh(module: nn.Module) -> None:
    """Draws the weights of a part of the backbone as detectron2 does; of other modules nothing.

    With transformers' ``initialization``, which leaves alone what came from a checkpoint.
    """
    if isinstance(module, LayoutLMv2VisualBackbone):
        module.reset_pixels()
    elif isinstance(module, NormedConv2d):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, FPN):
        for conv in module.own():
            assert conv.bias is not None
            init.kaiming_uniform_(conv.weight, a=1)
            init.zeros_(conv.bias)
    elif isinstance(module, FrozenBatchNorm2d):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        init.zeros_(module.running_mean)
        init.constant_(module.running_var, 1.0 - module.eps)


class NormConverter(Protocol):
    """Makes a synchronised batch norm of ``torch.nn.BatchNorm2d``'s buffers; its result is trainable."""

    def __call__(self, module: nn.Module, process_group: ProcessGroup | None) -> nn.Module:
        """``module`` with every batch norm in it replaced."""


class LayoutLMv2VisualBackbone(nn.Module):
    """Normalises pixels, runs the pyramid, averages its finest level over a grid."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__()
        settings = BackboneSettings.of(config.detectron2_config_args or {})
        rows, columns, *channels = config.image_feature_pool_shape
        if channels != [settings.fpn_out_channels]:
            raise ValueError(
                f"image_feature_pool_shape {tuple(config.image_feature_pool_shape)} must end in the backbone's "
                f"{settings.fpn_out_channels} channels (MODEL.FPN.OUT_CHANNELS)",
            )
        self._settings = settings
        self.backbone = FPN(settings)
        self.pool = nn.AdaptiveAvgPool2d((rows, columns))
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.empty(3, 1, 1), persistent=False)
        self.reset_pixels()

    @torch.no_grad()
    def reset_pixels(self) -> None:
        """Fills what no checkpoint holds: mean and deviation of the pixels."""
        self.pixel_mean.copy_(torch.tensor(self._settings.pixel_mean)[:, None, None])
        self.pixel_std.copy_(torch.tensor(self._settings.pixel_std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, Y, X) images of 0 to 255, blue, green, red, to (B, V, C) visual tokens, rows first.

        A detectron2 ImageList is taken by its ``tensor``.
        """
        images_B3YX: Tensor = images if isinstance(images, Tensor) else images.tensor
        normed_B3YX = (images_B3YX.float() - self.pixel_mean.float()) / self.pixel_std.float()
        pooled: Tensor = self.pool(self.backbone.finest(normed_B3YX.to(self.pixel_mean.dtype)))
        return pooled.flatten(2).transpose(1, 2).contiguous()

    def synchronize_batch_norm(self, process_group: ProcessGroup | None = None) -> None:
        """Makes all norms trainable, with statistics over the batch of all workers of ``process_group`` (None: all).

        Weights that are frozen stay frozen; their norms are trained like all others. To be called before the model is
        wrapped for distributed training and before the optimizer is made. A second call changes nothing.
        """
        self.backbone = synchronized(self.backbone, process_group)  # type: ignore[assignment]


def synchronized(module: nn.Module, process_group: ProcessGroup | None) -> nn.Module:
    """``module`` with synchronised batch norms in the place of its frozen and its plain ones."""
    convert: NormConverter = importlib.import_module("pipelines.sync_batch_norm").convert
    _thaw(module)
    return convert(module, process_group)


def _thaw(module: nn.Module) -> None:
    """Plain batch norms for frozen ones, with the same tensors."""
    for name, child in list(module.named_children()):
        if isinstance(child, FrozenBatchNorm2d):
            norm = nn.BatchNorm2d(child.num_features, eps=child.eps, device="meta")
            norm.weight, norm.bias = nn.Parameter(child.weight), nn.Parameter(child.bias)
            norm.running_mean, norm.running_var = child.running_mean, child.running_var
            norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=child.running_mean.device)
            norm.train(child.training)
            setattr(module, name, norm)
        else:
            _thaw(child)
