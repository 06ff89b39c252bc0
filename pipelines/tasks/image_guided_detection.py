"""Image-guided detection: where in an image things are that look like what another image shows.

Shape suffixes: B images of a batch, N boxes of an image, P numbers of a box's class vector.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Checkpoint, Options
from pipelines.tasks.objects import objects
from pipelines.tasks.seeing import SeeingTask, image_size
from pipelines.tasks.zero_shot_object_detection import box_features
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch

KEPT = 64
"""Query images whose vectors are kept."""


@dataclass(frozen=True, kw_only=True)
class GuidedOptions(Options):
    """Options of image-guided detection."""

    threshold: float = 0.6
    """least score of a box before scores are scaled, so that the best of an image has 1"""
    nms_threshold: float = 0.3
    """share of overlap from which the lesser of two boxes is left out"""

    def __post_init__(self) -> None:
        for name in ("threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"task.{name} must be from 0 to 1, not {getattr(self, name)}")


class ImageGuidedDetection(SeeingTask):
    """Looks in an image for what ``query_image`` shows; a query image that comes again is not looked at again."""

    name = "image-guided-detection"
    summary = "where in an image things are that look like what a query image shows"
    reads: ClassVar[tuple[str, ...]] = ("picture", "query_picture")
    writes: ClassVar[tuple[str, ...]] = ("objects",)
    options_type = GuidedOptions
    options: GuidedOptions
    auto_class = "OwlViTForObjectDetection"

    def __init__(self, checkpoint: Checkpoint, options: Options | None = None) -> None:
        super().__init__(checkpoint, options)
        self._known: OrderedDict[bytes, torch.Tensor | None] = OrderedDict()

    def encode(self, row: Row) -> list[Example]:
        """One example: the picture, and the query's as ``query``."""
        one, query = self.look(row), self.look(row, "query_picture")
        return [replace(one, arrays={**one.arrays, "query": query.arrays["pixels"]})]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``logits`` (N,) and ``boxes`` (N, 4) of each example; no logits where the query shows nothing."""
        features_BNH, boxes_BN4 = box_features(self.model, self.as_model(batch["pixel_values"]))
        outputs: list[Output] = []
        head: Any = self.model.class_predictor
        for one, features_NH, boxes_N4 in zip(examples, features_BNH, boxes_BN4, strict=True):
            query_1P = self._query(one)
            empty = np.zeros(0, np.float32)
            logits = empty if query_1P is None else head(features_NH[None], query_1P[None])[0].float().cpu().numpy()
            outputs.append({"logits": logits.ravel(), "boxes": boxes_N4.float().cpu().numpy()})
        return outputs

    def _query(self, example: Example) -> torch.Tensor | None:
        """The class vector (1, P) of what a query image shows; None where it shows nothing."""
        key = example.arrays["query"].tobytes()
        if key not in self._known:
            twin = replace(example, arrays={**example.arrays, "pixels": example.arrays["query"]})
            pixels = self.collate([twin])["pixel_values"].to(self.model.device)
            model: Any = self.model
            map_1YXH = model.image_embedder(pixel_values=self.as_model(pixels))[0]
            found = model.embed_image_query(map_1YXH.flatten(1, 2), map_1YXH)[0]
            self._known[key] = None if found is None else found[0]
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._known[key]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``objects`` without labels, as transformers' ``post_process_image_guided_detection`` finds them."""
        import torch
        from transformers import OwlViTImageProcessorPil
        from transformers.models.owlvit.modeling_owlvit import OwlViTImageGuidedObjectDetectionOutput

        logits, boxes = (torch.tensor(np.asarray(outputs[0][name], np.float32)) for name in ("logits", "boxes"))
        if not len(logits):
            return {"objects": []}
        processor: Any = OwlViTImageProcessorPil()
        found = processor.post_process_image_guided_detection(
            OwlViTImageGuidedObjectDetectionOutput(logits=logits[None, :, None], target_pred_boxes=boxes[None]),
            threshold=self.options.threshold,
            nms_threshold=self.options.nms_threshold,
            target_sizes=torch.tensor([image_size(row)]),
        )
        if not found:
            return {"objects": []}
        scores, corners = (found[0][name].numpy() for name in ("scores", "boxes"))
        return {"objects": objects([None] * len(scores), scores, corners)}
