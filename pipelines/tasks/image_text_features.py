"""Features of images and texts in one space: the nearer two vectors, the better an image and a text fit.

Trained on pairs: an image and its text should fit better than it does any other text of the step, of all workers, and
the other way round (InfoNCE; Radford et al. 2021, https://arxiv.org/abs/2103.00020).

B images or texts of a batch, N of all workers' batches, L tokens of the longest text, P numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pipelines.family import Batch, Metric, Options
from pipelines.tasks.base_text import text_of, unbatch
from pipelines.tasks.dual import DualTask
from pipelines.tasks.gathering import gathered
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class ImageTextFeatureOptions(Options):
    """Options of features of images and texts."""

    of: Literal["auto", "image", "text"] = "auto"
    """what of a row becomes vectors; auto takes all that it has"""
    normalize: bool = False
    """scale each vector to length 1"""

    def __post_init__(self) -> None:
        if self.of not in ("auto", "image", "text"):
            raise UsageError(f"task.of must be auto, image or text, not {self.of!r}")


class ImageTextFeatures(DualTask):
    """The towers' projected vectors of images and texts."""

    name = "features"
    summary = "images and texts as vectors in one space"
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("picture", "text")
    writes: ClassVar[tuple[str, ...]] = ("vector", "text_vector")
    options_type: ClassVar[type[ImageTextFeatureOptions]] = ImageTextFeatureOptions
    options: ImageTextFeatureOptions

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where rows have neither an image nor a text, or not the one asked for."""
        there = {"image": bool({"image", "picture"} & set(columns)), "text": "text" in columns}
        there["auto"] = any(there.values())
        if not there[self.options.of]:
            what = "an image or a text" if self.options.of == "auto" else f"the column {self.options.of!r}"
            raise UsageError(f"features need {what}: name the column with --map image=COLUMN or text=COLUMN")

    def encode(self, row: Row) -> list[Example]:
        """The picture, and the text as ``input_ids`` (L,): one example of each that there is."""
        of = self.options.of
        examples = []
        if of != "text" and (row.get("picture") is not None or of == "image"):
            examples.append(self.look(row))
        if of != "image" and row.get("text") is not None:
            ids = self.tokenise(text_of(row))
            examples.append(Example(arrays={"input_ids": ids}, length=len(ids)))
        if not examples:
            raise RowError(Code.ENCODE_FAILED, "the row has no text" + " and no image" * (of == "auto"))
        if len(examples) == 2:  # one row's examples have the same arrays
            none = np.zeros(0, np.int32)
            examples[0] = replace(examples[0], arrays={**examples[0].arrays, "input_ids": none})
            blank: dict[str, np.ndarray[Any, Any]] = {"pixels": np.zeros(0, np.uint8), "size": none}
            examples[1] = replace(examples[1], arrays={**blank, **examples[1].arrays})
        return examples

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``pixel_values``, or ``input_ids`` with their mask: texts and images are groups of their own; in training
        all of it, with ``labels``."""
        if "labels" in examples[0].arrays:
            texts = [replace(one, length=len(one.arrays["input_ids"])) for one in examples]
            return {**super().collate(examples), **self.text_batch(texts)}
        return super().collate(examples) if examples[0].group else self.text_batch(examples)

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``vector`` (P,) of each example."""
        from torch.nn.functional import normalize

        if "pixel_values" in batch:
            vectors_BP = self.image_vectors(batch["pixel_values"])
        else:
            vectors_BP = self.towers().get_text_features(**batch).pooler_output.float()
        return unbatch({"vector": normalize(vectors_BP, dim=-1) if self.options.normalize else vectors_BP})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector`` of the image, or of the text where there is none; ``text_vector`` of the text beside an image."""
        text = outputs[1]["vector"].tolist() if len(outputs) > 1 else None
        return {"vector": outputs[0]["vector"].tolist(), "text_vector": text}


@dataclass(frozen=True, kw_only=True)
class ContrastiveOptions(ImageTextFeatureOptions):
    """Options of features that can be trained."""

    lock_image: bool = False
    """leave the image tower as it is in training, which keeps what it knows (LiT); its projection is trained"""


class ContrastiveFeatures(ImageTextFeatures):
    """Features of towers that are trained together."""

    gold: ClassVar[tuple[str, ...]] = ("text",)
    metric = Metric(name="recall_at_1")
    more_metrics = (Metric(name="image_recall_at_1"),)
    contrasts = True
    options_type: ClassVar[type[ContrastiveOptions]] = ContrastiveOptions
    options: ContrastiveOptions

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights, and locks the image tower where asked to."""
        super().load_model(device, dtype)
        if self.options.lock_image:
            self.towers().vision_model.requires_grad_(False)

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """The pair as one example, with ``labels`` (1,): a pair counts once. Raises RowError for a row without both."""
        if row.get("picture") is None:
            raise RowError(Code.ENCODE_FAILED, "the row has no image: a pair is one image and its text")
        ids = self.tokenise(text_of(row))
        arrays = {**examples[0].arrays, "input_ids": ids, "labels": np.zeros(1, np.int32)}
        return [replace(examples[0], arrays=arrays, extra=len(ids))]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy of this worker's images over all workers' texts, and of its texts over all images, halved and
        summed, over ``num_items`` pairs. The workers' sum is the loss of one batch of all pairs."""
        import torch
        from torch.nn.functional import cross_entropy

        images_BP, texts_BP = outputs.image_embeds.float(), outputs.text_embeds.float()
        (images_NP, first), (texts_NP, _) = gathered(images_BP), gathered(texts_BP)
        scale = self.towers().logit_scale.float().exp()
        own_B = torch.arange(len(labels), device=labels.device) + first
        per_image = cross_entropy(scale * images_BP @ texts_NP.T, own_B, reduction="sum")
        per_text = cross_entropy(scale * texts_BP @ images_NP.T, own_B, reduction="sum")
        return (per_image + per_text) / 2 / (len(labels) if num_items is None else num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``recall_at_1``: how often an image's nearest text is its own (or the same words); ``image_recall_at_1``
        the other way round."""
        texts = np.array([text_of(row) for row in gold])
        images_NP, texts_NP = (
            np.array([row[name] for row in answers], np.float32) for name in ("vector", "text_vector")
        )
        lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (images_NP, texts_NP)]
        nearness_NN = (images_NP / lengths[0]) @ (texts_NP / lengths[1]).T
        found = {"recall_at_1": nearness_NN.argmax(1), "image_recall_at_1": nearness_NN.argmax(0)}
        return {name: float((texts[nearest] == texts).mean()) for name, nearest in found.items()}
