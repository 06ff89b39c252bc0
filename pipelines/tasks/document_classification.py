"""Document classification: one label of several, several labels, or a number, for each page.

A page that fits into one window answers as the documented example does. A longer one is read whole: its windows'
logits are averaged; ``task.first_window`` reads only the beginning, as plain truncation would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.tasks.scores import classified
from pipelines.tasks.text_classification import ClassificationOptions, TextClassification
from pipelines.tasks.windowed import WindowedTask, WindowOptions
from stages.base import Row
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class DocumentClassificationOptions(WindowOptions, ClassificationOptions):
    """Options of document classification."""

    first_window: bool = False
    """read only as much of a page as fits into one window, from its beginning"""


class DocumentClassification(WindowedTask, TextClassification):
    """Classifies pages by their words and where these stand; a document's label is that of its surest page."""

    name = "document-classification"
    summary = "one label, several labels or a number for a page"
    reads: ClassVar[tuple[str, ...]] = ("words", "boxes")
    optional = ()
    combines = ("label", "score", "scores", "page")
    options_type = DocumentClassificationOptions
    options: DocumentClassificationOptions
    boxed = True

    def encode(self, row: Row) -> list[Example]:
        """One example a window."""
        windows = self.lay(*self.read(row))
        return [self.window_example(window, {}) for window in (windows[:1] if self.options.first_window else windows)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``label, score, scores`` from the mean of the windows' logits."""
        logits = np.stack([np.asarray(out["logits"], np.float32) for out in outputs])
        return classified(np.asarray(logits.mean(axis=0)), self.config, self.options.top_k)
