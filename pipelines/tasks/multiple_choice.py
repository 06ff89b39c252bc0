"""Multiple choice: which of any number of endings fits a text best.

A row is one example: its (text, choice) pairs lie end to end, and rows of the same number of choices share a batch.
N pairs of a batch, L tokens of the longest pair, B rows, C choices a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import INPUTS, TextTask, text_of
from pipelines.tasks.padding import IGNORED, attention_mask, pad, pad_one
from pipelines.tasks.scores import softmax
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class MultipleChoice(TextTask):
    """Chooses among the endings of a text, or the answers to a question."""

    name = "multiple-choice"
    summary = "which of several endings fits a text best"
    reads = ("text", "choices")
    gold = ("choice",)
    writes = ("choice", "answer", "score", "scores")
    metric = Metric(name="accuracy")
    auto_class = "AutoModelForMultipleChoice"

    def encode(self, row: Row) -> list[Example]:
        """One example of all pairs end to end; ``sizes`` (C,) are their lengths."""
        text, choices = text_of(row), _choices(row)
        pairs = [self.example(self.tokenise(text, choice)) for choice in choices]
        names = pairs[0].arrays
        arrays: dict[str, NDArray[np.generic]] = {
            name: np.concatenate([one.arrays[name] for one in pairs]) for name in names
        }
        arrays["sizes"] = np.array([one.length for one in pairs], np.int32)
        cost = len(pairs) * max(one.length for one in pairs)
        return [Example(arrays=arrays, length=cost, group=len(pairs))]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded (N, 1, L) tensors, as the model takes one choice; ``labels`` (B, C) in training."""
        pairs = [pair for one in examples for pair in _pairs(one)]
        tensors = {
            **pad(pairs, list(pairs[0].arrays), {"input_ids": self.pad_id}),
            "attention_mask": attention_mask(pairs),
        }
        batch = {name: tensor[:, None] for name, tensor in tensors.items()}
        if "labels" in examples[0].arrays:
            batch["labels"] = pad_one([one.arrays["labels"] for one in examples], IGNORED)
        return batch

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Logits (C,) of each row's choices."""
        logits_N = self.run(batch).logits.float().flatten().cpu().numpy()
        ends = np.cumsum([one.group for one in examples])[:-1]
        return [{"logits": logits} for logits in np.split(logits_N, ends)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``choice`` (from 0), its text as ``answer``, its ``score``, and all choices with ``scores``."""
        choices, shares = _choices(row), softmax(np.asarray(outputs[0]["logits"], np.float32))
        best_first = np.argsort(-shares, kind="stable").tolist()
        scores = [{"label": choices[i], "score": float(shares[i])} for i in best_first]
        best = best_first[0]
        return {"choice": best, "answer": choices[best], "score": float(shares[best]), "scores": scores}

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (C,): 1 for the right choice, 0 for the others."""
        right, count = row.get("choice"), examples[0].group
        if not isinstance(right, int) or not 0 <= right < count:
            raise RowError(Code.ENCODE_FAILED, f"column 'choice' must be from 0 to {count - 1}, not {right!r}")
        labels = (np.arange(count) == right).astype(np.int8)
        return [replace(one, arrays={**one.arrays, "labels": labels}) for one in examples]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy over each row's choices, a row of C choices counting C / num_items, summed.

        ``num_items`` counts choices, so the loss is the mean over rows where all have the same number.
        """
        there_BC = labels != IGNORED
        logits_BC = labels.new_full(labels.shape, -np.inf, dtype=outputs.logits.float().dtype)
        logits_BC = logits_BC.masked_scatter(there_BC, outputs.logits.float().flatten())
        likely_B = logits_BC.log_softmax(-1).gather(1, (labels == 1).long().argmax(1, keepdim=True))[:, 0]
        count_B = there_BC.sum(1)
        total = count_B.sum() if num_items is None else num_items
        return -(likely_B * count_B).sum() / total

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``accuracy``."""
        right = [one["choice"] == other["choice"] for one, other in zip(gold, answers, strict=True)]
        return {"accuracy": float(np.mean(right))}


def _choices(row: Row) -> list[str]:
    choices = row.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(one, str) for one in choices):
        raise RowError(Code.ENCODE_FAILED, "column 'choices' must hold a list of one or more texts")
    return cast("list[str]", choices)


def _pairs(one: Example) -> list[Example]:
    """The row's pairs, one example each."""
    sizes = one.arrays["sizes"]
    ends = np.cumsum(sizes)[:-1]
    parts: Mapping[str, list[NDArray[np.generic]]] = {
        name: np.split(one.arrays[name], ends) for name in INPUTS if name in one.arrays
    }
    return [
        Example(arrays={name: arrays[i] for name, arrays in parts.items()}, length=int(size))
        for i, size in enumerate(sizes)
    ]
