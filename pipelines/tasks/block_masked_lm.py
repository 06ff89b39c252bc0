"""Masked language modelling whose training joins texts and cuts them into blocks of one length.

Nothing is padded that way, and what is longer than a block is not lost. L tokens of a text or block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pipelines.tasks.base_text import text_of
from pipelines.tasks.masked_lm import MaskedLM, MaskedLMOptions
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example


@dataclass(frozen=True, kw_only=True)
class BlockMaskedLMOptions(MaskedLMOptions):
    """Options of masked language modelling in blocks."""

    block_size: int = 128
    """tokens of a block that training sees at once, at most what the model takes; texts are joined and cut there"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size < 2:
            raise UsageError(f"task.block_size must be 2 or more, not {self.block_size}")


class BlockMaskedLM(MaskedLM):
    """Fills the masks of a text; trained on blocks of joined texts, masked anew in every epoch."""

    options_type = BlockMaskedLMOptions
    options: BlockMaskedLMOptions

    @property
    def block_size(self) -> int:
        """Tokens of a block: what the option says, or all that the model takes where that is less."""
        return min(self.options.block_size, self.limit)

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """The row's whole text with its special tokens, in blocks; ``arrange`` fills the last one up."""
        return self._blocks([self.with_labels(self.example(self.tokenise(text_of(row), cut=False)))])

    def arrange(self, labelled: Sequence[Sequence[Example]]) -> list[list[Example]]:
        """Neighbouring rows end to end, cut into blocks anew; the last block of all is what is left over."""
        return [[block] for block in self._blocks(list(chain.from_iterable(labelled)))]

    def _blocks(self, examples: Sequence[Example]) -> list[Example]:
        """The examples' tokens and labels in blocks; the last one is shorter."""
        if not examples:
            return []
        joined = {name: np.concatenate([one.arrays[name] for one in examples]) for name in examples[0].arrays}
        starts = range(0, len(joined["input_ids"]), self.block_size)
        parts = [{name: whole[at : at + self.block_size] for name, whole in joined.items()} for at in starts]
        return [Example(arrays=part, length=len(part["input_ids"])) for part in parts]
