"""Image captioning and text recognition: what an image shows, or says, written token by token.

B images of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import text_of
from pipelines.tasks.generating import GenerationOptions, texts, write
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.seeing import SeeingTask
from pipelines.tasks.writing import WritingTask
from pipelines.tasks.written import shifted
from stages.base import Row
from stages.examples import Example, Output
from stages.predictor import row_seed

if TYPE_CHECKING:
    import torch

EXPECTED = 16
"""Tokens of a usual caption, for the batch's budget."""


class ImageCaptioning(WritingTask, SeeingTask):
    """Describes an image; several captions where asked for."""

    name = "image-captioning"
    summary = "what an image shows, in words; with beams or drawn"
    gold: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[tuple[str, ...]] = ("text", "score", "sequences")
    metric = Metric(name="wer", greater_is_better=False)
    more_metrics: ClassVar[tuple[Metric, ...]] = (Metric(name="cer", greater_is_better=False),)
    options_type = GenerationOptions
    options: GenerationOptions
    auto_class = "VisionEncoderDecoderModel"

    def encode(self, row: Row) -> list[Example]:
        """One example: the picture, and ``seed`` (1,)."""
        one = self.look(row)
        seed = np.array([row_seed(row, self.options.seed)], np.int64)
        return [replace(one, arrays={**one.arrays, "seed": seed}, extra=EXPECTED * self.beams)]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """The texts written for each example (see ``generating.write``)."""
        seeds = [int(one.arrays["seed"][0]) for one in examples]
        return write(self.model, {"pixel_values": self.as_model(batch["pixel_values"])}, self.options, seeds)

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``text`` and ``score``, and all ``sequences`` where several were asked for."""
        found = [{"text": one.text, "score": one.score} for one in texts(outputs[0], self.tokenizer)]
        return {**found[0], "sequences": found if self.options.num_return_sequences > 1 else None}

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (L,): the text's tokens and the end."""
        labels = self.target_ids(text_of(row))
        return [replace(one, arrays={**one.arrays, "labels": labels}, extra=len(labels)) for one in examples]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``pixel_values``; in training ``labels`` and ``decoder_input_ids`` too: the labels, one place later."""
        batch = super().collate(examples)
        if "labels" not in batch:
            return batch
        return {**batch, self.written: shifted(examples, *self.edges)}

    written: ClassVar[str] = "decoder_input_ids"
    """The model's input that holds what was written so far."""

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy summed over the texts' tokens, over ``num_items``. What a decoder alone says at the image's
        places, which come first, does not count."""
        return cross_entropy(outputs.logits[:, -labels.shape[1] :], labels, num_items)


class CausalCaptioning(ImageCaptioning):
    """Describes an image with a decoder alone, to which image and words are one sequence."""

    auto_class = "AutoModelForCausalLM"
    written = "input_ids"


class TextRecognition(ImageCaptioning):
    """Reads the image of one line of text."""

    name = "text-recognition"
    summary = "the text of an image of one line, printed or written"
