"""Next-sentence prediction: whether the second text follows the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import TextTask, text_of, unbatch
from pipelines.tasks.scores import softmax
from stages.base import Row
from stages.examples import Example, Output


class NextSentence(TextTask):
    """Says whether ``text_pair`` follows ``text`` in one document."""

    name = "next-sentence"
    summary = "whether the second text follows the first"
    reads = ("text", "text_pair")
    writes = ("next_sentence", "score")
    auto_class = "AutoModelForNextSentencePrediction"

    def encode(self, row: Row) -> list[Example]:
        """One example: the pair, its longer part cut first."""
        return [self.example(self.tokenise(text_of(row), text_of(row, "text_pair")))]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Logits (2,): it follows, it does not."""
        return unbatch({"logits": self.run(batch).logits})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``next_sentence`` and the probability of that answer."""
        return follows(outputs[0])


def follows(output: Output) -> Row:
    """``next_sentence, score`` from the logits (2,); the first is for texts that follow each other."""
    shares = softmax(np.asarray(output["logits"], np.float32))
    return {"next_sentence": bool(shares[0] >= shares[1]), "score": float(shares.max())}
