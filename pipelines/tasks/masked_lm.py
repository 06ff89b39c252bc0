"""Masked language modelling: what may stand where the text has a mask.

L tokens of the longest example, B examples, M masks of a batch, V pieces of the vocabulary, K fills a mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import TextOptions, TextTask, text_of
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.masking import logits_at, mask_some
from pipelines.tasks.padding import IGNORED
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from numpy.typing import NDArray
    from transformers import BatchEncoding


@dataclass(frozen=True, kw_only=True)
class MaskedLMOptions(TextOptions):
    """Options of masked language modelling."""

    top_k: int = 5
    """how many fills to give for each mask"""
    targets: tuple[str, ...] = ()
    """the only fills to choose from, each one piece of the vocabulary; empty takes the whole vocabulary"""
    mask_share: float = 0.15
    """share of the tokens that training hides, between 0 and 1"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 1:
            raise UsageError(f"task.top_k must be 1 or more, not {self.top_k}")
        if not 0 < self.mask_share < 1:
            raise UsageError(f"task.mask_share must be between 0 and 1, not {self.mask_share}")


class MaskedLM(TextTask):
    """Fills the masks of a text. Trained, it hides tokens anew in every epoch."""

    name = "masked-lm"
    summary = "the most probable fills for each mask in a text"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[tuple[str, ...]] = ("fills",)
    options_type = MaskedLMOptions
    options: MaskedLMOptions
    metric: ClassVar[Metric | None] = Metric(name="perplexity", greater_is_better=False, from_loss=True)
    auto_class = "AutoModelForMaskedLM"

    def load_processor(self) -> None:
        """Loads tokenizer and configuration; finds the pieces to choose from."""
        super().load_processor()
        if self.tokenizer.mask_token_id is None:
            raise UsageError(f"{self.checkpoint.ref} has no mask token: it is no masked language model")
        self.mask_id = int(self.tokenizer.mask_token_id)
        pieces = self.tokenizer.get_vocab()
        unknown = [target for target in self.options.targets if target not in pieces]
        if unknown:
            raise UsageError(
                f"task.targets: {unknown[0]!r} is not one piece of the vocabulary of {self.checkpoint.ref}"
            )
        self.targets = np.array([pieces[target] for target in self.options.targets], np.int32)

    def encode(self, row: Row) -> list[Example]:
        """One example; ``masks`` are the positions of its masks, ``targets`` the pieces to choose from."""
        return [self.masked_example(self.tokenise(text_of(row)), text_of(row))]

    def masked_example(self, encoding: BatchEncoding[Any], text: str) -> Example:
        """A tokenised text with the positions of its masks. Raises RowError where cutting the text loses one."""
        masks = np.flatnonzero(np.asarray(encoding["input_ids"]) == self.mask_id).astype(np.int32)
        written = text.count(str(self.tokenizer.mask_token))
        if len(masks) < written:
            what = f"{written - len(masks)} of {written} masks lie beyond the {self.limit} tokens that the model takes"
            raise RowError(Code.ENCODE_FAILED, f"{what}: shorten the text")
        return self.example(encoding, {"masks": masks, "targets": self.targets})

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """The ``tokens`` and ``scores`` (masks, K) of each example."""
        with logits_at(self.model, examples):
            logits_MV = self.run(batch).logits  # the head is run at masks only
        return self.best(logits_MV, examples)

    def best(self, logits_MV: torch.Tensor, examples: Sequence[Example]) -> list[Output]:
        """The K most probable pieces at each mask, by example."""
        import torch

        shares_MV = logits_MV.float().softmax(-1)
        targets = torch.as_tensor(examples[0].arrays["targets"].astype(np.int64), device=shares_MV.device)
        if len(targets):
            shares_MV = shares_MV[:, targets]
        scores_MK, tokens_MK = shares_MV.topk(min(self.options.top_k, shares_MV.shape[-1]))
        if len(targets):
            tokens_MK = targets[tokens_MK]
        scores, tokens = scores_MK.cpu().numpy(), tokens_MK.cpu().numpy()
        ends = np.cumsum([len(one.arrays["masks"]) for one in examples])[:-1]
        pairs = zip(np.split(scores, ends), np.split(tokens, ends), strict=True)
        return [{"scores": score, "tokens": token} for score, token in pairs]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``fills``: one list a mask, each with the text as it then reads; other masks stay in it."""
        if not len(examples[0].arrays["masks"]):
            raise RowError(Code.ENCODE_FAILED, f"the text holds no mask; write {self.tokenizer.mask_token} into it")
        return {"fills": self.fills(examples[0], outputs[0])}

    def fills(self, example: Example, output: Output) -> list[list[Row]]:
        """One list of fills a mask, most probable first."""
        masks = example.arrays["masks"]
        return [
            [self._fill(example, int(position), int(token), float(score)) for token, score in zip(*each, strict=True)]
            for position, *each in zip(masks, output["tokens"], output["scores"], strict=True)
        ]

    def _fill(self, example: Example, position: int, token: int, score: float) -> Row:
        ids: NDArray[np.generic] = example.arrays["input_ids"].copy()
        ids[position] = token
        text = self.tokenizer.decode(ids, skip_special_tokens=len(example.arrays["masks"]) == 1)
        return {"token": self.tokenizer.decode([token]), "score": score, "text": text}

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels``: every token but special ones may be hidden; ``vary`` hides some, anew each time."""
        return [self.with_labels(one) for one in examples]

    def with_labels(self, one: Example) -> Example:
        """An example whose ``labels`` are its tokens, IGNORED where they are special."""
        ids = one.arrays["input_ids"]
        special = np.isin(ids, self.tokenizer.all_special_ids)
        return replace(one, arrays={**one.arrays, "labels": np.where(special, IGNORED, ids)})

    def vary(self, example: Example, random: Generator) -> Example:
        """Some tokens hidden; only these keep their label."""
        vocabulary = self.config.get_text_config().vocab_size
        share = self.options.mask_share
        return mask_some(example, random, share=share, mask_id=self.mask_id, vocabulary=vocabulary)

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy summed over hidden tokens, over ``num_items``."""
        return cross_entropy(outputs.logits, labels, num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """None: perplexity follows from the loss."""
        return {}

    def loss_metrics(self, loss: float) -> dict[str, float]:
        """``perplexity`` of the hidden tokens."""
        return {"perplexity": math.exp(min(loss, 700.0))}
