"""A LayoutLMv2 small enough for tests, and batches for it."""

from __future__ import annotations

import torch
from transformers import LayoutLMv2Config

import pipelines.layoutlmv2 as ours
from pipelines import Checkpoint
from stages.predict import Predictor
from stages.settings import Predict

SMALL = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 32,
    "max_position_embeddings": 200,
    "coordinate_size": 4,
    "shape_size": 4,
    "initializer_range": 0.4,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "image_feature_pool_shape": [7, 7, 32],
    "detectron2_config_args": dict(ours.LIGHT),
}


def config(**changes) -> LayoutLMv2Config:
    return LayoutLMv2Config(**{**SMALL, **changes})


def batch(length: int = 20, size: int = 3, *, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 900, (size, length, 2), generator=random)
    sides = torch.randint(0, 101, (size, length, 2), generator=random)
    lengths = torch.tensor([length, *torch.randint(1, length + 1, (size - 1,), generator=random).tolist()])
    return {
        "input_ids": torch.randint(1, 60, (size, length), generator=random),
        "bbox": torch.cat([corners, corners + sides], dim=-1),
        "attention_mask": (torch.arange(length) < lengths[:, None]).long(),
        "image": torch.randint(0, 256, (size, 3, 224, 224), dtype=torch.uint8, generator=random),
    }


def model(name: str = "LayoutLMv2Model", **changes):
    torch.manual_seed(0)
    made = getattr(ours, name)(config(**changes))
    for weight in made.parameters():
        if weight.ndim < 2:
            torch.nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.2)
    return made.eval()


def opened(kind, folder) -> Predictor:
    checkpoint = Checkpoint(ref="tiny", path=str(folder), content="0")
    return Predictor(kind(checkpoint), Predict(dtype="float32", device="cpu")).open()
