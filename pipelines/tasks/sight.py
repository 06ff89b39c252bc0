"""A checkpoint's image processor in two halves: the size (a ``View``, used in the sandbox) and the scale of numbers.

Between them an image is uint8. Numbers are those of transformers' image processors in their Pillow versions; the ones
for torchvision filter a little differently when they scale (a few of 255 levels at sharp edges).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.family import Checkpoint
from pipelines.tasks.loading import load_preprocessor
from stages.errors import CheckpointError
from stages.view import Fit, View

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_SIZES = {"height": 0, "width": 0}


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a model looks at, and in which numbers."""

    view: View
    scale: float
    """What each of 0 to 255 is multiplied with."""
    mean: tuple[float, ...]
    """Subtracted of red, green and blue after that."""
    std: tuple[float, ...]
    """What the difference is divided by."""

    def tensor(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Pictures (height, width, 3) of one size as (B, 3, height, width) float32."""
        import torch

        stacked_BYX3 = torch.stack([torch.from_numpy(each.copy()) for each in pictures])
        values_B3YX = stacked_BYX3.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return values_B3YX.mul_(self.scale).sub_(mean).div_(std)


def load_sight(checkpoint: Checkpoint) -> Sight:
    """The checkpoint's image processor. Raises CheckpointError where it has none, or one of another kind."""
    found: Any = load_preprocessor(checkpoint, "AutoImageProcessor", backend="pil")
    normal = getattr(found, "do_normalize", False)
    return Sight(
        view=_view(found, checkpoint),
        scale=float(found.rescale_factor) if found.do_rescale else 1.0,
        mean=_three(found.image_mean) if normal else (0.0,) * 3,
        std=_three(found.image_std) if normal else (1.0,) * 3,
    )


def _view(processor: Any, checkpoint: Checkpoint) -> View:  # noqa: ANN401  any of transformers' image processors
    from transformers import DPTImageProcessorPil, GLPNImageProcessorPil, VideoMAEImageProcessorPil
    from transformers.image_processing_backends import PilBackend

    own = DPTImageProcessorPil, GLPNImageProcessorPil, VideoMAEImageProcessorPil
    plain = isinstance(processor, PilBackend) and type(processor)._preprocess is PilBackend._preprocess
    if getattr(processor, "do_pad", False) or not (plain or isinstance(processor, own)):
        kind = type(processor).__name__
        raise CheckpointError(f"{checkpoint.ref} wants images as {kind} makes them, which Manta does not do")
    how: dict[str, Any] = {"resample": int(processor.resample if processor.resample is not None else 2)}
    if getattr(processor, "do_center_crop", False):
        how["crop"] = (_sizes(processor.crop_size)["height"], _sizes(processor.crop_size)["width"])
    if not processor.do_resize:
        return View(**how)
    if isinstance(processor, GLPNImageProcessorPil):
        return View(fit="multiple", multiple=processor.size_divisor, **how)
    size: dict[str, Any] = dict(_sizes(processor.size))
    if isinstance(processor, DPTImageProcessorPil):
        fit: Fit = "ratio" if processor.keep_aspect_ratio else "exact"
        multiple = processor.ensure_multiple_of
        sides: dict[str, Any] = {
            name: round(size[name] / multiple) * multiple if fit == "exact" else size[name] for name in _SIZES
        }
        return View(fit=fit, multiple=multiple, **sides, **how)
    if size.keys() == {"shortest_edge"}:
        return View(fit="shortest", height=size["shortest_edge"], **how)
    if size.keys() != _SIZES.keys():
        raise CheckpointError(f"{checkpoint.ref} wants images of the size {size}, which Manta does not make")
    return View(fit="exact", **size, **how)


def _sizes(size: Mapping[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in dict(size).items() if value is not None}


def _three(values: float | Sequence[float]) -> tuple[float, ...]:
    return (float(values),) * 3 if isinstance(values, (int, float)) else tuple(float(each) for each in values)
