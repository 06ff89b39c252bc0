"""Texts and questions as vectors whose inner products tell how well they fit: features of retrieval models.

N texts of a batch, L tokens of the longest, P numbers a vector, B pairs of one worker's batch and A of all workers'
in training.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import TextTask, text_of
from pipelines.tasks.gathering import gathered
from pipelines.tasks.padding import attention_mask, pad, pad_one
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch


class DenseTask(TextTask):
    """A task with an encoder of questions and documents; a family says how it embeds them."""

    @abstractmethod
    def embed(self, batch: Batch) -> torch.Tensor:
        """Vectors (N, P) of a batch; ``is_document`` (N,) tells documents from questions."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """P, from the configuration."""

    def dense_example(self, text: str, *, document: bool) -> Example:
        """One text, cut at the limit."""
        one = self.example(self.tokenise(text))
        return Example(arrays={**one.arrays, "is_document": np.array([document], np.int8)}, length=one.length)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded (N, L) tensors with their attention mask, and ``is_document`` (N,)."""
        which = pad_one([one.arrays["is_document"] for one in examples], 0)[:, 0]
        return {**super().collate(examples), "is_document": which}

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``vector`` (P,) of each example."""
        return [{"vector": vector} for vector in self.embed(batch).float().cpu().numpy()]


class DenseFeatures(DenseTask):
    """Vectors of documents and of questions; trained on pairs of them, each against all others of its step."""

    name = "features"
    summary = "a text as a vector to search for, a question as one to search with"
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("text", "question")
    gold: ClassVar[tuple[str, ...]] = ("text", "question")
    writes = ("vector", "question_vector")
    metric: ClassVar[Metric | None] = Metric(name="recall_at_1")
    more_metrics = (Metric(name="recall_at_5"),)
    contrasts = True

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where there are neither texts nor questions."""
        if "text" not in columns and "question" not in columns:
            raise UsageError(f"{self.name} needs a column text or question; there are: {', '.join(sorted(columns))}")

    def encode(self, row: Row) -> list[Example]:
        """One example for the text, one for the question, of those that the row has."""
        there = [name for name in ("text", "question") if row.get(name) is not None]
        if not there:
            raise RowError(Code.ENCODE_FAILED, "the row has neither text nor question")
        return [self.dense_example(text_of(row, name), document=name == "text") for name in there]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector`` of the text and ``question_vector``, null for what the row lacks."""
        found: Row = {"vector": None, "question_vector": None}
        for one, output in zip(examples, outputs, strict=True):
            name = "vector" if one.arrays["is_document"][0] else "question_vector"
            found[name] = np.asarray(output["vector"]).tolist()
        return found

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Question and text end to end; ``sizes`` (2,) are their lengths, ``labels`` (1,) tell equal texts."""
        if len(examples) != 2:
            raise RowError(Code.ENCODE_FAILED, "training needs a text and a question that it answers in every row")
        document, question = examples
        names = [name for name in question.arrays if name != "is_document"]
        arrays = {name: np.concatenate([question.arrays[name], document.arrays[name]]) for name in names}
        arrays["sizes"] = np.array([question.length, document.length], np.int32)
        arrays["labels"] = np.array([zlib.crc32(text_of(row).encode()) >> 1], np.int32)
        return [Example(arrays=arrays, length=2 * max(question.length, document.length))]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy of each question's text among all workers' and the other way round, halved and summed, over
        ``num_items`` pairs. A text that stands there twice is no wrong answer."""
        import torch
        from torch.nn.functional import cross_entropy

        questions_BP, documents_BP = self.vectors(outputs).float().chunk(2)
        (questions_AP, first), (documents_AP, _) = gathered(questions_BP), gathered(documents_BP)
        texts_A1, _ = gathered(labels.double())  # exact: they have 31 bits
        own_B = torch.arange(len(labels), device=labels.device) + first
        again_BA = texts_A1[own_B] == texts_A1.T
        again_BA[torch.arange(len(labels), device=labels.device), own_B] = False

        def entropy(scores_BA: torch.Tensor) -> torch.Tensor:
            return cross_entropy(scores_BA.masked_fill(again_BA, -torch.inf), own_B, reduction="sum")

        total = entropy(questions_BP @ documents_AP.T) + entropy(documents_BP @ questions_AP.T)
        return total / 2 / (len(labels) if num_items is None else num_items)

    @abstractmethod
    def vectors(self, outputs: Any) -> torch.Tensor:  # noqa: ANN401
        """The vectors (N, P) in the model's outputs."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors; in training (2 B, L): the questions of all pairs, then their texts."""
        if "labels" not in examples[0].arrays:
            return super().collate(examples)
        parts = [part for which in (0, 1) for part in (_part(one, which) for one in examples)]
        labels = pad_one([one.arrays["labels"] for one in examples], 0)
        batch = {
            **pad(parts, list(parts[0].arrays), {"input_ids": self.pad_id}),
            "attention_mask": attention_mask(parts),
        }
        which_N = pad_one([np.array([n >= len(examples)], np.int8) for n in range(len(parts))], 0)[:, 0]
        return {**batch, "is_document": which_N, "labels": labels}

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``recall_at_1`` and ``recall_at_5`` of each question's own text among all texts of the rows."""
        texts = [text_of(row) for row in gold]
        different = list(dict.fromkeys(texts))
        vectors = {text: row["vector"] for text, row in zip(texts, answers, strict=True)}
        documents = np.array([vectors[text] for text in different], np.float32)
        questions = np.array([row["question_vector"] for row in answers], np.float32)
        order = np.argsort(-(questions @ documents.T), axis=1, kind="stable")
        right = order == np.array([different.index(text) for text in texts])[:, None]
        return {f"recall_at_{k}": float(right[:, :k].any(axis=1).mean()) for k in (1, 5)}


def _part(one: Example, which: int) -> Example:
    sizes = one.arrays["sizes"].tolist()
    first, last = (0, sizes[0]) if which == 0 else (sizes[0], sizes[0] + sizes[1])
    names = [name for name in one.arrays if name not in ("sizes", "labels")]
    return Example(arrays={name: one.arrays[name][first:last] for name in names}, length=last - first)
