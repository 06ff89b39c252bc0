"""Search: the passages of an index that fit a question best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipelines.checkpoint import at_hand
from pipelines.family import Batch
from pipelines.tasks.base_text import TextOptions, text_of
from pipelines.tasks.dense_features import DenseTask
from pipelines.tasks.dense_index import FOLDER, absolute
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    from stages.vectors import Index


@dataclass(frozen=True, kw_only=True)
class SearchOptions(TextOptions):
    """Options of search."""

    index: str = ""
    """output folder of the task index; empty looks for an index beside the checkpoint's weights"""
    top_k: int = 5
    """how many passages to give for each question"""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "index", absolute(self.index))
        if self.top_k < 1:
            raise UsageError(f"task.top_k must be 1 or more, not {self.top_k}")


class DenseSearch(DenseTask):
    """Answers questions with passages."""

    name = "search"
    summary = "the passages of an index that fit a question best"
    reads: ClassVar[tuple[str, ...]] = ("question",)
    writes = ("question", "hits")
    options_type = SearchOptions
    options: SearchOptions
    index: Index

    def besides(self) -> str:
        """The index's content. Raises UsageError where there is none."""
        from stages.vectors import about

        return about(self._folder()).content

    def _folder(self) -> str:
        return f"{self.options.index or at_hand(self.checkpoint)}/{FOLDER}"

    def load_processor(self) -> None:
        """Loads tokenizer, configuration and index. Raises UsageError for an index of another model or dimension."""
        from stages.vectors import load

        super().load_processor()
        folder = self._folder()
        self.index = load(folder)
        own = "" if not self.options.index else self.checkpoint.content
        self.index.check(checkpoint=own, dimension=self.dimension, folder=folder)

    def encode(self, row: Row) -> list[Example]:
        """One example: the question."""
        return [self.dense_example(text_of(row, "question"), document=False)]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``places`` and ``scores`` (top_k,) of each question's passages."""
        vectors = np.stack([np.asarray(output["vector"], np.float32) for output in super().forward(batch, examples)])
        places, scores = self.index.search(vectors, self.options.top_k)
        return [{"places": place, "scores": score} for place, score in zip(places, scores, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``hits``, the best first."""
        pairs = zip(outputs[0]["places"].tolist(), outputs[0]["scores"].tolist(), strict=True)
        return {
            "question": row["question"],
            "hits": [self.index.hit(place, score) for place, score in pairs if place >= 0],
        }
