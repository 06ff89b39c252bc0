"""Speech to text by an encoder-decoder: what a recording says, in its language or another.

A recording longer than ``chunk_s`` is heard in pieces that do not overlap, and their texts are joined: unlike with CTC,
where a text's words lie in time is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import text_of
from pipelines.tasks.generating import GenerationOptions, Written, texts, write
from pipelines.tasks.hearing import HearingOptions, HearingTask
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.writing import WritingTask
from pipelines.tasks.written import shifted
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output
from stages.predictor import row_seed

if TYPE_CHECKING:
    import torch

TOKENS_A_SECOND = 4
"""Tokens of usual speech, for the batch's budget."""


@dataclass(frozen=True, kw_only=True)
class SpeechOptions(HearingOptions, GenerationOptions):
    """Options of speech to text."""

    target_token: str = ""
    """the token that the text begins with, where a checkpoint writes several languages, as in de_DE"""

    def __post_init__(self) -> None:
        HearingOptions.__post_init__(self)
        GenerationOptions.__post_init__(self)


class SpeechToText(WritingTask, HearingTask):
    """Writes down what a recording says."""

    name = "speech-to-text"
    summary = "what a recording says; with beams or drawn"
    gold: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[tuple[str, ...]] = ("text", "score", "sequences")
    metric = Metric(name="wer", greater_is_better=False)
    more_metrics: ClassVar[tuple[Metric, ...]] = (Metric(name="cer", greater_is_better=False),)
    options_type = SpeechOptions
    options: SpeechOptions
    auto_class = "SpeechEncoderDecoderModel"

    def load_processor(self) -> None:
        """Loads the feature extractor and the tokenizer. Raises UsageError for an unknown ``target_token``."""
        super().load_processor()
        token = self.options.target_token
        if token and token not in self.tokenizer.get_vocab():
            raise UsageError(f"task.target_token {token!r} is not in the vocabulary of {self.checkpoint.ref}")

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights, and the token that texts begin with."""
        super().load_model(device, dtype)
        if self.options.target_token:
            first = self.tokenizer.convert_tokens_to_ids(self.options.target_token)
            self.model.generation_config.update(forced_bos_token_id=first)  # type: ignore[no-untyped-call]

    def chunk_and_stride(self) -> tuple[int, int]:
        """Pieces that do not overlap."""
        return super().chunk_and_stride()[0], 0

    def encode(self, row: Row) -> list[Example]:
        """One example a piece, each with ``seed`` (1,)."""
        first, rate = row_seed(row, self.options.seed), self.takes().rate
        return [
            replace(
                one,
                arrays={**one.arrays, "seed": np.array([first + number], np.int64)},
                extra=math.ceil(one.group / rate * TOKENS_A_SECOND) * self.beams,
            )
            for number, one in enumerate(super().encode(row))
        ]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """The texts written for each piece (see ``generating.write``)."""
        values = batch["input_values"].to(self.model.dtype)
        return write(self.model, {"input_values": values}, self.options, [int(o.arrays["seed"][0]) for o in examples])

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``text`` and ``score``, and all ``sequences`` where several were asked for; pieces joined."""
        ranked = zip(*(texts(output, self.tokenizer) for output in outputs), strict=True)
        found = [_joined(parts) for parts in ranked]
        several = [{"text": one.text, "score": one.score} for one in found]
        best = several[0]
        return {**best, "sequences": several if self.options.num_return_sequences > 1 else None}

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (L,): the text's tokens and the end. Raises RowError for a recording of several pieces."""
        if len(examples) > 1:
            message = f"the recording is longer than task.chunk_s = {self.options.chunk_s:g}: cut it, or raise that"
            raise RowError(Code.ENCODE_FAILED, message)
        labels = self.target_ids(text_of(row))
        return [replace(one, arrays={**one.arrays, "labels": labels}, extra=len(labels)) for one in examples]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``input_values``; in training ``labels`` and ``decoder_input_ids`` too: the labels, one place later."""
        batch = super().collate(examples)
        return {**batch, "decoder_input_ids": shifted(examples, *self.edges)} if "labels" in batch else batch

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy summed over the texts' tokens, over ``num_items``."""
        return cross_entropy(outputs.logits, labels, num_items)


class SpeechTranslation(SpeechToText):
    """Writes down what a recording says, in another language."""

    name = "speech-translation"
    summary = "what a recording says, in another language; with beams or drawn"
    metric = Metric(name="bleu")
    more_metrics = ()

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``bleu`` (sacrebleu's, 0 to 100)."""
        import sacrebleu

        ours = [str(row["text"]) for row in answers]
        return {"bleu": float(sacrebleu.corpus_bleu(ours, [self.right_texts(gold)]).score)}


def _joined(parts: Sequence[Written]) -> Written:
    if len(parts) == 1:
        return parts[0]
    return Written(
        text=" ".join(one.text.strip() for one in parts if one.text.strip()),
        log_likelihood=sum(one.log_likelihood for one in parts),
        tokens=sum(one.tokens for one in parts),
    )
