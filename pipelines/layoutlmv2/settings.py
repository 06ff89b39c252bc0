"""The visual backbone's settings: detectron2's keys, as ``detectron2_config_args`` in a LayoutLMv2 config.json.

Keys of detectron2 that concern detection heads are passed over; a value that no backbone here has is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stages.errors import UsageError

BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Bottleneck blocks of each stage, by ``MODEL.RESNETS.DEPTH``."""

LIGHT: Mapping[str, object] = {
    "MODEL.RESNETS.DEPTH": 14,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.PIXEL_STD": [57.375, 57.120, 58.395],
}
"""``detectron2_config_args`` of a light backbone for small trainings from nothing: four blocks, 0.3 million weights.

It goes with ``image_feature_pool_shape`` (7, 7, 32).
"""


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """What decides the backbone's weights. The defaults are detectron2's own, not those of LayoutLMv2's config."""

    blocks: tuple[int, ...] = BLOCKS[50]
    """Bottleneck blocks of res2 to res5."""
    num_groups: int = 1
    width_per_group: int = 64
    """Inner width of res2 a group; each stage doubles it."""
    stem_out_channels: int = 64
    res2_out_channels: int = 256
    """Outer width of res2; each stage doubles it."""
    stride_in_1x1: bool = True
    """Whether a stage's stride lies in the first convolution of its first block or in the 3×3 one."""
    fpn_out_channels: int = 256
    freeze_at: int = 2
    """How many of stem, res2, res3 … are never trained."""
    pixel_mean: tuple[float, ...] = (103.530, 116.280, 123.675)
    """Blue, green, red, of 0 to 255."""
    pixel_std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @classmethod
    def of(cls, args: Mapping[str, object]) -> BackboneSettings:
        """The settings that ``detectron2_config_args`` describe. Raises UsageError for what cannot be built."""
        for key, wanted in _FIXED.items():
            if args.get(key, wanted) != wanted:
                raise UsageError(f"detectron2_config_args: {key} must be {wanted!r}, not {args[key]!r}")
        depth = args.get("MODEL.RESNETS.DEPTH", 50)
        if depth not in BLOCKS:
            known = ", ".join(map(str, BLOCKS))
            raise UsageError(f"detectron2_config_args: MODEL.RESNETS.DEPTH must be one of {known}, not {depth!r}")
        numbers = {name: _whole(args, key, getattr(cls, name)) for name, key in _NUMBERS.items()}
        return cls(
            blocks=BLOCKS[int(str(depth))],
            stride_in_1x1=bool(args.get("MODEL.RESNETS.STRIDE_IN_1X1", cls.stride_in_1x1)),
            pixel_mean=_three(args, "MODEL.PIXEL_MEAN", cls.pixel_mean),
            pixel_std=_three(args, "MODEL.PIXEL_STD", cls.pixel_std),
            **numbers,
        )


_NUMBERS = {
    "num_groups": "MODEL.RESNETS.NUM_GROUPS",
    "width_per_group": "MODEL.RESNETS.WIDTH_PER_GROUP",
    "stem_out_channels": "MODEL.RESNETS.STEM_OUT_CHANNELS",
    "res2_out_channels": "MODEL.RESNETS.RES2_OUT_CHANNELS",
    "fpn_out_channels": "MODEL.FPN.OUT_CHANNELS",
    "freeze_at": "MODEL.BACKBONE.FREEZE_AT",
}
_FIXED: Mapping[str, object] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.RES5_DILATION": 1,
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.NORM": "",
    "MODEL.FPN.FUSE_TYPE": "sum",
}
"""Keys that have one value here; LayoutLMv2 and LayoutXLM have it."""


def _whole(args: Mapping[str, object], key: str, otherwise: int) -> int:
    value = args.get(key, otherwise)
    if type(value) is not int or value < 0:
        raise UsageError(f"detectron2_config_args: {key} must be a whole number, not {value!r}")
    return value


def _three(args: Mapping[str, object], key: str, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    value = args.get(key, otherwise)
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise UsageError(f"detectron2_config_args: {key} must be three numbers, not {value!r}")
    return tuple(float(each) for each in value)
