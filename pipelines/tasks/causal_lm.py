"""Causal language modelling: how likely a text is read left to right, and what may follow it.

L tokens of the longest example, B examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import TextOptions, TextTask, text_of
from pipelines.tasks.generating import seeded
from pipelines.tasks.padding import IGNORED
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output
from stages.predictor import row_seed

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class CausalLMOptions(TextOptions):
    """Options of causal language modelling."""

    max_new_tokens: int = 32
    """longest continuation in tokens; 0 writes none"""
    num_beams: int = 1
    """beams of beam search; 1 is greedy, or plain sampling"""
    do_sample: bool = False
    """draw tokens instead of taking the most probable; seeded by the row's key, so the same each time"""
    temperature: float = 1.0
    """above 1 draws more evenly, below 1 less; used where do_sample"""
    top_k: int = 50
    """draw among that many most probable tokens; 0 draws among all"""
    top_p: float = 1.0
    """draw among the most probable tokens that have this probability together"""
    seed: int = 0
    """another seed draws other continuations"""

    def __post_init__(self) -> None:
        super().__post_init__()
        bounds = {
            "max_new_tokens": (self.max_new_tokens >= 0, "0 or more"),
            "num_beams": (self.num_beams >= 1, "1 or more"),
            "temperature": (self.temperature > 0, "above 0"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
        }
        for name, (good, rule) in bounds.items():
            if not good:
                raise UsageError(f"task.{name} must be {rule}, not {getattr(self, name)!r}")


class CausalLM(TextTask):
    """Perplexity of a text, and its continuation, from an encoder that is read left to right (``is_decoder``)."""

    name = "causal-lm"
    summary = "how likely a text is, read left to right, and its continuation"
    reads = ("text",)
    writes = ("generated_text", "perplexity")
    options_type = CausalLMOptions
    options: CausalLMOptions
    auto_class = "AutoModelForCausalLM"

    def config_changes(self) -> Mapping[str, object]:
        """Attention to the left only; a checkpoint of an encoder does not say so."""
        return {"is_decoder": True}

    def encode(self, row: Row) -> list[Example]:
        """One example with its ``seed``; continued texts share a batch with others of their length only."""
        text = text_of(row)
        one = self.example(self.tokenise(text, cut=False))
        room = self.limit - self.options.max_new_tokens
        if one.length > room:
            raise RowError(
                Code.ENCODE_FAILED,
                f"the text has {one.length} tokens; {self.limit} that the model takes, less task.max_new_tokens, "
                f"leave {room}",
            )
        seed = np.array([row_seed(row, self.options.seed)], np.int64)
        group = one.length if self.options.max_new_tokens else 0
        return [replace(one, arrays={**one.arrays, "seed": seed}, group=group)]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``loss`` (1,), the mean negative log likelihood, and the ``continuation``'s tokens of each example."""
        losses_B = self._losses(batch).cpu().numpy()
        if not self.options.max_new_tokens:
            return [{"loss": losses_B[i : i + 1]} for i in range(len(examples))]
        written = self._write(batch, examples)
        return [{"loss": losses_B[i : i + 1], "continuation": written[i]} for i in range(len(examples))]

    def _losses(self, batch: Batch) -> torch.Tensor:
        """(B,) mean over each text's tokens but the first."""
        from torch.nn.functional import cross_entropy

        logits_BLV = self.model(**batch, use_cache=False).logits[:, :-1]
        wanted_BL = batch["input_ids"][:, 1:].masked_fill(batch["attention_mask"][:, 1:] == 0, IGNORED)
        losses = [
            cross_entropy(logits_LV.float(), wanted_L, ignore_index=IGNORED)
            for logits_LV, wanted_L in zip(logits_BLV, wanted_BL, strict=True)
        ]  # one text at a time: all in float32 at once would be gigabytes
        stacked: torch.Tensor = losses[0].new_tensor([float(one) for one in losses])
        return stacked

    def _write(self, batch: Batch, examples: Sequence[Example]) -> list[np.ndarray[Any, np.dtype[np.generic]]]:
        """The continuation of each example. Drawn ones are written one by one, each from its own seed."""
        length = batch["input_ids"].shape[1]
        if not self.options.do_sample:
            return list(self._generate(batch)[:, length:].cpu().numpy())
        written = []
        for i, one in enumerate(examples):
            with seeded(int(one.arrays["seed"][0])):
                ids = self._generate({name: tensor[i : i + 1] for name, tensor in batch.items()})
            written.append(ids[0, length:].cpu().numpy())
        return written

    def _generate(self, batch: Batch) -> torch.Tensor:
        drawn = {"temperature": self.options.temperature, "top_k": self.options.top_k, "top_p": self.options.top_p}
        ids: torch.Tensor = self.model.generate(  # type: ignore[operator]
            **batch,
            max_new_tokens=self.options.max_new_tokens,
            num_beams=self.options.num_beams,
            do_sample=self.options.do_sample,
            pad_token_id=self.pad_id,
            **(drawn if self.options.do_sample else {}),
        )
        return ids

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``generated_text``, the text with its continuation, and the ``perplexity`` of the text given."""
        output, text = outputs[0], text_of(row)
        more = (
            self.tokenizer.decode(output["continuation"], skip_special_tokens=True) if "continuation" in output else ""
        )
        return {"generated_text": text + str(more), "perplexity": math.exp(min(float(output["loss"][0]), 700.0))}
