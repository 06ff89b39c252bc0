"""Masked language modelling on pages: what may stand where a word is a mask, given the words around it and its box.

A page longer than the model is read in windows; a mask is filled from the window in which it has most context, and
``text`` is that window as it then reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.tasks.masked_lm import MaskedLM, MaskedLMOptions
from pipelines.tasks.padding import IGNORED
from pipelines.tasks.windowed import WindowedTask, WindowOptions
from pipelines.tasks.words import Ints
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class PageMaskedLMOptions(WindowOptions, MaskedLMOptions):
    """Options of masked language modelling on pages."""


class PageMaskedLM(MaskedLM, WindowedTask):
    """Fills the masks among a page's words. Trained, it hides tokens anew in every epoch."""

    summary = "the most probable fills for each word of a page that is a mask"
    reads = ("words", "boxes")
    options_type = PageMaskedLMOptions
    options: PageMaskedLMOptions
    boxed = True

    def encode(self, row: Row) -> list[Example]:
        """One example a window; ``masks`` and the tokens ``own`` (2,) are what it answers for."""
        examples = []
        for window in self.lay(*self.read(row)):
            own: Ints = np.array(window.own, np.int32) + (window.first - window.start)
            masks: Ints = (np.flatnonzero(window.ids[own[0] : own[1]] == self.mask_id) + own[0]).astype(np.int32)
            examples.append(self.window_example(window, {"masks": masks, "targets": self.targets, "own": own}))
        return examples

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``fills``: one list a mask, in the order of the page's words."""
        fills = [fill for one, out in zip(examples, outputs, strict=True) for fill in self.fills(one, out)]
        if not fills:
            raise RowError(Code.ENCODE_FAILED, f"the page holds no mask; write {self.tokenizer.mask_token} as a word")
        return {"fills": fills}

    def with_labels(self, one: Example) -> Example:
        """Labels of the tokens that the window answers for, so that those in two windows are not learned twice."""
        labelled = super().with_labels(one)
        first, last = one.arrays["own"].tolist()
        labels = labelled.arrays["labels"].copy()
        labels[:first], labels[last:] = IGNORED, IGNORED
        return replace(labelled, arrays={**labelled.arrays, "labels": labels})
