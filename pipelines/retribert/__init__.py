"""RetriBERT: questions and documents as vectors in one space (Jernite 2020, https://yjernite.github.io/lfqa.html).

    from pipelines.retribert import RetriBertModel

gives the model without the family. Once this package is imported, transformers' Auto classes know ``retribert``.
"""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.family import Checkpoint, Family
from pipelines.registering import register
from pipelines.tasks.dense_features import DenseFeatures, DenseTask
from pipelines.tasks.dense_index import DenseIndex, index_texts
from pipelines.tasks.dense_search import DenseSearch
from pipelines.tasks.tiny import WORDS, vocabulary, write_model, write_tokenizer

if TYPE_CHECKING:
    import torch

    from pipelines.family import Batch
    from pipelines.retribert.model import RetriBertModel
    from pipelines.retribert.settings import RetriBertConfig, RetriBertTokenizer, RetriBertTokenizerFast

__all__ = [
    "FAMILY",
    "RetriBertConfig",
    "RetriBertModel",
    "RetriBertTokenizer",
    "RetriBertTokenizerFast",
    "tiny",
]

_SETTINGS, _MODEL = "pipelines.retribert.settings", "pipelines.retribert.model"

register(
    "retribert",
    config=f"{_SETTINGS}.RetriBertConfig",
    tokenizer=f"{_SETTINGS}.RetriBertTokenizer",
    models={"AutoModel": f"{_MODEL}.RetriBertModel"},
)


def __getattr__(name: str) -> object:
    """The classes, loaded when they are asked for: they import torch."""
    if not name.startswith("RetriBert"):
        raise AttributeError(f"module {__name__} has no {name}")
    return getattr(importlib.import_module(_MODEL if name == "RetriBertModel" else _SETTINGS), name)


class _Task(DenseTask):
    """What all tasks of the family share."""

    auto_class = f"{_MODEL}.DualEncoder"

    def load_processor(self) -> None:
        """Loads what the task needs; the encoders see no token types."""
        super().load_processor()
        self.tokenizer.model_input_names = ["input_ids", "attention_mask"]

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self.config.projection_dim)

    def embed(self, batch: Batch) -> torch.Tensor:
        """Vectors of questions and documents, each by its own projection."""
        return self.vectors(self.run(batch))

    def vectors(self, outputs: Any) -> torch.Tensor:  # noqa: ANN401
        """The vectors (N, P) in the model's outputs."""
        found: torch.Tensor = outputs.embeddings
        return found


class Features(_Task, DenseFeatures):
    """Vectors of documents and questions."""


class Index(_Task, DenseIndex):
    """Embeds and indexes a corpus."""


class Search(_Task, DenseSearch):
    """Searches an index."""


def tiny(folder: Path, task: str) -> None:
    """A RetriBERT of two layers, 32 wide, that takes 64 tokens; to search, with an index of a few words."""
    from pipelines.retribert.settings import RetriBertConfig

    write_tokenizer(folder, max_length=64)
    config = RetriBertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        projection_dim=16,
        initializer_range=0.3,
    )
    write_model(folder, f"{_MODEL}.RetriBertModel", config)
    if task == "search":
        found = Checkpoint(ref=str(folder), path=str(folder), content="")
        index_texts(Index(found), [f"the {word} of {other}" for word, other in pairwise(WORDS[-60:])], folder)


FAMILY = Family(
    summary="encoders of questions and documents for search: features, an index of a corpus, its search",
    tasks=(Features, Index, Search),
    checkpoints={"": "yjernite/retribert-base-uncased@main"},
    licence="unknown: the model card states none",
    tiny=tiny,
    model_types=("retribert",),
)
