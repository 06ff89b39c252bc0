"""What tasks share that write a text about something else than a text: an image, a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipelines.family import Task
from pipelines.tasks.base_text import text_of
from pipelines.tasks.error_rates import error_rates
from pipelines.tasks.generating import GenerationOptions, beams_of, load_generation
from pipelines.tasks.loading import load_tokenizer
from pipelines.tasks.written import edges, last_of
from stages.base import Row

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast


class WritingTask(Task):
    """Stands before the class that brings what the text is about: that loads the configuration and the model."""

    options: GenerationOptions
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerFast

    def load_processor(self) -> None:
        """Loads the tokenizer and how the checkpoint writes. Raises UsageError for more sequences than beams."""
        super().load_processor()  # type: ignore[safe-super]
        self.tokenizer = load_tokenizer(self.checkpoint, fast=False)
        own = load_generation(self.checkpoint, self.config, self.options)
        self.beams, self.end = beams_of(own, self.options), last_of(own)

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights, and the tokens that a text begins and fills up with."""
        super().load_model(device, dtype)  # type: ignore[safe-super]
        self.edges = edges(self.model)

    def target_ids(self, text: str) -> NDArray[np.int32]:
        """The tokens of a text, with no special ones but the end."""
        return np.array(
            [*self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], self.end], np.int32
        )

    def right_texts(self, gold: Sequence[Row]) -> list[str]:
        """The right texts as the tokenizer writes them."""
        ids = [self.target_ids(text_of(row)) for row in gold]
        return [str(self.tokenizer.decode(each, skip_special_tokens=True)) for each in ids]

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``wer`` and ``cer``, of texts as the tokenizer writes them."""
        return error_rates(self.right_texts(gold), [str(row["text"]) for row in answers])
