"""Features of pages: words and where they stand as one vector, and one a token where asked for.

A page longer than the model is read in windows: its vector is the mean of theirs; each token's vector comes from the
window in which it has most context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.tasks.features import FeatureOptions, Features
from pipelines.tasks.windowed import WindowedTask, WindowOptions
from pipelines.tasks.words import Ints
from stages.base import Row
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class PageFeatureOptions(WindowOptions, FeatureOptions):
    """Options of features of pages."""


class PageFeatures(Features, WindowedTask):
    """The last hidden states of an encoder of pages, pooled."""

    summary = "a page as a vector, and one a token where asked for"
    reads: ClassVar[tuple[str, ...]] = ("words", "boxes")
    optional = ()
    options_type = PageFeatureOptions
    options: PageFeatureOptions
    boxed = True

    def encode(self, row: Row) -> list[Example]:
        """One example a window; ``own`` (2,) are the tokens that it answers for, the frame's by first and last."""
        laid = self.lay(*self.read(row))
        examples = []
        for place, window in enumerate(laid):
            shift = window.first - window.start
            own: Ints = np.array(window.own, np.int32) + shift
            own[0] = own[0] if place else 0
            own[1] = own[1] if place < len(laid) - 1 else len(window.ids)
            examples.append(self.window_example(window, {"own": own}))
        return examples

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector``, and ``vectors`` or null."""
        vector = np.mean([np.asarray(out["vector"], np.float32) for out in outputs], axis=0, dtype=np.float32)
        if self.options.normalize and len(outputs) > 1:
            vector /= np.linalg.norm(vector)
        if not self.options.vectors:
            return {"vector": vector.tolist(), "vectors": None}
        owned = [out["vectors"][slice(*one.arrays["own"])] for one, out in zip(examples, outputs, strict=True)]
        return {"vector": vector.tolist(), "vectors": np.concatenate(owned).tolist()}
