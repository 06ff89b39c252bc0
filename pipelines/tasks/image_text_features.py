"""Features of images and texts in one space: the nearer two vectors, the better an image and a text fit.

B images or texts of a batch, P numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pipelines.family import Batch, Options
from pipelines.tasks.base_text import text_of, unbatch
from pipelines.tasks.dual import DualTask
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class ImageTextFeatureOptions(Options):
    """Options of features of images and texts."""

    of: Literal["auto", "image", "text"] = "auto"
    """what of a row becomes its vector; auto takes its image, where it has one, else its text"""
    normalize: bool = False
    """scale the vector to length 1"""

    def __post_init__(self) -> None:
        if self.of not in ("auto", "image", "text"):
            raise UsageError(f"task.of must be auto, image or text, not {self.of!r}")


class ImageTextFeatures(DualTask):
    """One tower's projected vector of an image or a text."""

    name = "features"
    summary = "an image or a text as a vector, both in one space"
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("picture", "text")
    writes: ClassVar[tuple[str, ...]] = ("vector",)
    options_type = ImageTextFeatureOptions
    options: ImageTextFeatureOptions

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where rows have neither an image nor a text, or not the one asked for."""
        there = {"image"} & set(columns) or {"picture"} & set(columns), {"text"} & set(columns)
        wanted = {"auto": any(there), "image": there[0], "text": there[1]}[self.options.of]
        if not wanted:
            what = "image or a text" if self.options.of == "auto" else self.options.of
            raise UsageError(f"features need an {what}: name the column with --map image=COLUMN or text=COLUMN")

    def encode(self, row: Row) -> list[Example]:
        """One example: the picture, or the text as ``input_ids`` (L,)."""
        of = self.options.of
        if of == "auto":
            of = "image" if row.get("picture") is not None else "text"
        if of == "image":
            return [self.look(row)]
        if row.get("text") is None:
            raise RowError(Code.ENCODE_FAILED, "the row has no text" + " and no image" * (self.options.of == "auto"))
        ids = self.tokenise(text_of(row))
        return [Example(arrays={"input_ids": ids}, length=len(ids))]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``pixel_values``, or ``input_ids`` with their mask: texts and images are groups of their own."""
        return self.text_batch(examples) if "input_ids" in examples[0].arrays else super().collate(examples)

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``vector`` (P,) of each example."""
        from torch.nn.functional import normalize

        if "pixel_values" in batch:
            vectors_BP = self.image_vectors(batch["pixel_values"])
        else:
            vectors_BP = self.towers().get_text_features(**batch).pooler_output.float()
        return unbatch({"vector": normalize(vectors_BP, dim=-1) if self.options.normalize else vectors_BP})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector``."""
        return {"vector": outputs[0]["vector"].tolist()}
