"""Features: a text as one vector, and one a token where asked for.

L tokens of the longest example, B examples, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pipelines.family import Batch
from pipelines.tasks.base_text import TextOptions, TextTask, pair_of, text_of, unbatch
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(TextOptions):
    """Options of features."""

    pooling: Literal["mean", "cls", "pooler"] = "mean"
    """how the tokens' vectors become one: their mean, the first one, or what the checkpoint's pooler makes of that"""
    normalize: bool = False
    """scale the vector to length 1"""
    vectors: bool = False
    """give every token's vector too, special tokens included"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in ("mean", "cls", "pooler"):
            raise UsageError(f"task.pooling must be mean, cls or pooler, not {self.pooling!r}")


class Features(TextTask):
    """The last hidden states of an encoder, pooled."""

    name = "features"
    summary = "a text as a vector, and one a token where asked for"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ("text_pair",)
    writes: ClassVar[tuple[str, ...]] = ("vector", "vectors")
    options_type = FeatureOptions
    options: FeatureOptions
    auto_class = "AutoModel"

    def unused_weights(self) -> tuple[str, ...]:
        """The pooler, unless it is asked for: many encoders come without."""
        return () if self.options.pooling == "pooler" else (r"(.*\.)?pooler\.",)

    def encode(self, row: Row) -> list[Example]:
        """One example: the text, cut at the limit."""
        return [self.example(self.tokenise(text_of(row), pair_of(row)))]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``vector`` (H,) and, asked for, ``vectors`` (tokens, H) of each example."""
        return self.pooled(self.run(batch), batch, examples)

    def pooled(self, outputs: Any, batch: Batch, examples: Sequence[Example]) -> list[Output]:  # noqa: ANN401
        """What ``forward`` gives, from the model's outputs."""
        from torch.nn.functional import normalize

        hidden_BLH = outputs.last_hidden_state.float()
        if self.options.pooling == "mean":
            mask_BL1 = batch["attention_mask"][..., None].float()
            vector_BH = (hidden_BLH * mask_BL1).sum(1) / mask_BL1.sum(1)
        elif self.options.pooling == "cls":
            vector_BH = hidden_BLH[:, 0]
        else:
            vector_BH = outputs.pooler_output.float()
        if self.options.normalize:
            vector_BH = normalize(vector_BH, dim=-1)
        if not self.options.vectors:
            return unbatch({"vector": vector_BH})
        both = unbatch({"vector": vector_BH, "vectors": hidden_BLH})
        return [{**out, "vectors": out["vectors"][: one.length]} for one, out in zip(examples, both, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector``, and ``vectors`` or null."""
        vectors = outputs[0].get("vectors")
        return {"vector": outputs[0]["vector"].tolist(), "vectors": None if vectors is None else vectors.tolist()}
