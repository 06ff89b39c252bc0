"""BERT's two pretraining objectives at once: fills for masks, and whether the second text follows the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import text_of, unbatch
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.masked_lm import MaskedLM
from pipelines.tasks.masking import logits_at
from pipelines.tasks.next_sentence import follows
from pipelines.tasks.padding import IGNORED
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator


class Pretraining(MaskedLM):
    """Fills the masks of a pair of texts and says whether the second follows; masks are not required."""

    name = "pretraining"
    summary = "masked-lm and next-sentence at once, as BERT was pretrained"
    reads = ("text", "text_pair")
    gold = ("next_sentence",)
    writes = ("fills", "next_sentence", "score")
    more_metrics = (Metric(name="next_sentence_accuracy"),)
    auto_class = "AutoModelForPreTraining"

    def encode(self, row: Row) -> list[Example]:
        """One example: the pair, with the positions of its masks."""
        text, pair = text_of(row), text_of(row, "text_pair")
        return [self.masked_example(self.tokenise(text, pair), f"{text} {pair}")]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Fills of each mask, and logits (2,): it follows, it does not."""
        with logits_at(self.model, examples):
            outputs = self.run(batch)
        fills = self.best(outputs.prediction_logits, examples)
        pairs = unbatch({"logits": outputs.seq_relationship_logits})
        return [{**fill, **pair} for fill, pair in zip(fills, pairs, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``fills``, ``next_sentence`` and the probability of the latter."""
        return {"fills": self.fills(examples[0], outputs[0]), **follows(outputs[0])}

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels``: the tokens that may be hidden, and at the first, [CLS], 0 where the second text follows."""
        follows_it = row.get("next_sentence")
        if not isinstance(follows_it, bool):
            raise RowError(Code.ENCODE_FAILED, "pretraining needs true or false in column 'next_sentence'")
        labelled = [self.with_labels(one) for one in examples]
        for one in labelled:
            one.arrays["labels"][0] = int(not follows_it)
        return labelled

    def vary(self, example: Example, random: Generator) -> Example:
        """Some tokens hidden, never [CLS], whose label is the pair's."""
        pair = example.arrays["labels"][0]
        tokens = example.arrays["labels"].copy()
        tokens[0] = IGNORED
        varied = super().vary(replace(example, arrays={**example.arrays, "labels": tokens}), random)
        varied.arrays["labels"][0] = pair
        return varied

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Mean over hidden tokens plus mean over pairs, written as a sum over ``num_items`` (tokens and pairs).

        An example of m hidden tokens counts (m + 1) / num_items, so that accumulating and adding workers change
        nothing; where all have the same m it is transformers' loss.
        """
        from torch.nn.functional import cross_entropy as entropy

        hidden_BL, pair_B = labels[:, 1:], labels[:, 0]
        tokens_BL = entropy(
            outputs.prediction_logits[:, 1:].float().transpose(1, 2), hidden_BL, ignore_index=IGNORED, reduction="none"
        )
        pairs_B = entropy(outputs.seq_relationship_logits.float(), pair_B, reduction="none")
        count_B = (hidden_BL != IGNORED).sum(1)
        mean_B = tokens_BL.sum(1) / count_B.clamp(min=1) + pairs_B
        total = (count_B + 1).sum() if num_items is None else num_items
        return ((count_B + 1) * mean_B).sum() / total

    def judged_loss(self, outputs: Any, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        """Of the hidden tokens alone: perplexity is theirs."""
        hidden_BL = labels[:, 1:]
        count = (hidden_BL != IGNORED).sum()
        return cross_entropy(outputs.prediction_logits[:, 1:], hidden_BL, count) * count, count

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``next_sentence_accuracy``; ``perplexity`` follows from the loss of the hidden tokens."""
        right = [one["next_sentence"] == other["next_sentence"] for one, other in zip(gold, answers, strict=True)]
        return {"next_sentence_accuracy": float(np.mean(right))}
