"""REALM's tasks: what is REALM's alone; searching is shared with other retrieval models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pipelines.family import Batch, Metric
from pipelines.tasks.dense_features import DenseFeatures, DenseTask
from pipelines.tasks.dense_index import DenseIndex
from pipelines.tasks.dense_search import DenseSearch

if TYPE_CHECKING:
    import torch

MODEL, READER = "pipelines.realm.model", "pipelines.realm.reader"


class _Dense(DenseTask):
    """What tasks with the embedder share: questions and blocks are embedded alike."""

    auto_class = f"{MODEL}.RealmEmbedder"

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self.config.retriever_proj_size)

    def unused_weights(self) -> tuple[str, ...]:
        """The vocabulary projection, which an embedder carries without using it."""
        return (r"cls\.predictions\.",)

    def embed(self, batch: Batch) -> torch.Tensor:
        """The projected scores (N, P)."""
        return self.vectors(self.run({name: each for name, each in batch.items() if name != "is_document"}))

    def vectors(self, outputs: Any) -> torch.Tensor:  # noqa: ANN401
        """The vectors (N, P) in the model's outputs."""
        found: torch.Tensor = outputs.projected_score
        return found


class Features(_Dense, DenseFeatures):
    """The projected score of a text or a question."""

    gold: ClassVar[tuple[str, ...]] = ()
    metric: ClassVar[Metric | None] = None


class Index(_Dense, DenseIndex):
    """Embeds blocks and indexes them."""


class Search(_Dense, DenseSearch):
    """Searches an index of blocks."""


DENSE: Sequence[type[DenseTask]] = (Features, Index, Search)
