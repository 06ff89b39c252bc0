"""An untrained LayoutLMv2 with a light backbone that can be taught invoices in minutes on two cores; no hub.

Three layers, 160 wide, with the vocabulary of the untrained LayoutLM (start.py) and its idea: heads start out looking
at the same line to the left, at the line above, at the word before, the word after, and the word itself. Here the
relative biases, which LayoutLMv2 adds to all its attention, say so. What a page looks like is learned from nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.invoices.corpus import WORD_LABELS
from jobs.invoices.start import HEADS, HIDDEN, LAYERS, TOKENS, UNITS, write_vocabulary

if TYPE_CHECKING:
    import torch

COORDINATE, SHAPE = 28, 24
"""HIDDEN = 4 coordinates + 2 sizes."""
CHANNELS = 32
"""Of the light backbone's output."""
STRENGTH = 4.0
"""The bias of a place that a head looks at, against 0 elsewhere."""
Bias = Callable[[float], float]
"""A distance, from the looking token on, to its bias."""


def _near(low: float, high: float) -> Bias:
    return lambda distance: STRENGTH if low <= distance <= high else 0.0


def _left(distance: float) -> float:
    """What is left of it, the nearer the more."""
    return STRENGTH * (1 + distance / 300) if -250 <= distance < -4 else 0.0


_LOOKS: tuple[tuple[str, Bias], ...] = (
    ("x y", _left),  # on the line, to the left
    ("y x", _near(-40, -8)),  # the line above, at the same left edge
    ("order", _near(-1, -1)),  # the word before
    ("order", _near(1, 1)),  # the word after
    ("order", _near(0, 0)),  # the word itself
)
"""One head each: along which distance it looks and how far; where a second one is named, that one is near 0."""
_SAME = _near(-7, 7)


def write_start(folder: Path, words: Iterable[str], *, seed: int = 0) -> None:
    """Writes the checkpoint into ``folder``; ``words`` are the training table's."""
    from pipelines.tasks.loading import quiet

    folder.mkdir(parents=True, exist_ok=True)
    size = write_vocabulary(folder, words, tokenizer_class="LayoutLMv2Tokenizer")
    with quiet():
        _model(size, seed).save_pretrained(folder)


def _model(vocabulary: int, seed: int) -> Any:  # noqa: ANN401 - LayoutLMv2ForTokenClassification; imports torch
    import torch
    from transformers import LayoutLMv2Config

    from pipelines.layoutlmv2 import LIGHT, LayoutLMv2ForTokenClassification

    config = LayoutLMv2Config(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=3 * HIDDEN,
        max_position_embeddings=TOKENS,
        max_2d_position_embeddings=UNITS,
        coordinate_size=COORDINATE,
        shape_size=SHAPE,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.06,
        image_feature_pool_shape=[7, 7, CHANNELS],
        detectron2_config_args=dict(LIGHT),
        id2label=dict(enumerate(WORD_LABELS)),
        label2id={label: number for number, label in enumerate(WORD_LABELS)},
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model: Any = LayoutLMv2ForTokenClassification(config)
        _place(model.layoutlmv2.embeddings)
        _aim(model.layoutlmv2.encoder)
    return model


def _place(embeddings: Any) -> None:  # noqa: ANN401 - LayoutLMv2Embeddings
    """Coordinates as waves, so that near places look alike; words stand out."""
    for name, wide in (("x", COORDINATE), ("y", COORDINATE), ("h", SHAPE), ("w", SHAPE)):
        getattr(embeddings, f"{name}_position_embeddings").weight.copy_(0.2 * _waves(wide))
    embeddings.word_embeddings.weight.normal_(0.0, 0.5)


def _waves(wide: int) -> torch.Tensor:
    """(UNITS, wide): cosines and sines of every place, from one wave over the page to one over a line."""
    import torch

    pairs = wide // 2
    rates = 2 * math.pi / (1500.0 * (30.0 / 1500.0) ** (torch.arange(pairs) / (pairs - 1)))
    angles = torch.arange(UNITS)[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _aim(encoder: Any) -> None:  # noqa: ANN401 - Encoder
    """Turns the heads to the places of ``_LOOKS``, and all projections small, so that the biases lead."""
    tables = {
        "order": (encoder.rel_pos_bias, encoder.bins_1d),
        "x": (encoder.rel_pos_x_bias, encoder.bins_2d),
        "y": (encoder.rel_pos_y_bias, encoder.bins_2d),
    }
    for table, _ in tables.values():
        table.weight.zero_()
    for head, (along, look) in enumerate(_LOOKS):
        first, *second = along.split()
        _fill(*tables[first], head, look)
        for name in second:
            _fill(*tables[name], head, _SAME)
    for name, weight in encoder.named_parameters():
        if "query" in name or "key" in name or "qkv" in name:
            weight.mul_(0.3)


def _fill(table: torch.nn.Linear, bins_D: torch.Tensor, head: int, look: Bias) -> None:
    """A head's bias in each bin: the mean over the distances that fall into it."""
    most = len(bins_D) // 2
    for number in sorted(set(bins_D.tolist())):
        distances = ((bins_D == number).nonzero().flatten() - most).tolist()
        table.weight[head, number] = sum(map(look, distances)) / len(distances)
