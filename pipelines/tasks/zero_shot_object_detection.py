"""Zero-shot object detection: where in an image things are that are named in any words.

Shape suffixes: B images of a batch, N boxes of an image, T labels of a row, P numbers of a text, H of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.dual import CandidateOptions, CandidatesTask
from pipelines.tasks.objects import corners, objects
from pipelines.tasks.scores import sigmoid
from pipelines.tasks.seeing import image_size
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(CandidateOptions):
    """Options of zero-shot detection."""

    threshold: float = 0.1
    """least score of an object"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"task.threshold must be from 0 to 1, not {self.threshold}")


class ZeroShotObjectDetection(CandidatesTask):
    """Looks for each label in an image; the image goes through the model once, whatever the number of labels."""

    name = "zero-shot-object-detection"
    summary = "where in an image things are that are named in any words"
    writes: ClassVar[tuple[str, ...]] = ("objects",)
    options_type = DetectionOptions
    options: DetectionOptions
    auto_class = "AutoModelForZeroShotObjectDetection"

    def towers(self) -> Any:  # noqa: ANN401
        """OWL-ViT's CLIP."""
        return self.model.base_model

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``logits`` (N·T,) and ``boxes`` (N, 4) of each example."""
        from torch.nn.functional import normalize

        features_BNH, boxes_BN4 = box_features(self.model, self.as_model(batch["pixel_values"]))
        outputs: list[Output] = []
        for one, features_NH, boxes_N4 in zip(examples, features_BNH, boxes_BN4, strict=True):
            queries_TP = normalize(self.candidates(one), dim=-1)
            head: Any = self.model.class_predictor
            logits_NT = head(features_NH[None], self.as_model(queries_TP)[None])[0][0]
            outputs.append({"logits": logits_NT.float().cpu().numpy().ravel(), "boxes": boxes_N4.float().cpu().numpy()})
        return outputs

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``objects``: every label's boxes whose score is above the threshold, best first."""
        labels, boxes = self.labels_of(row), np.asarray(outputs[0]["boxes"], np.float32)
        scores_TN = sigmoid(np.asarray(outputs[0]["logits"], np.float32)).reshape(len(boxes), -1).T
        which, box = np.nonzero(scores_TN > self.options.threshold)
        found = corners(boxes, image_size(row))[box]
        named = [labels[int(n)] for n in which]
        return {"objects": objects(named, scores_TN[which, box], found, self.options.top_k)}


def box_features(model: Any, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
    """An OWL-ViT's features (B, N, H) and boxes (B, N, 4) of images (B, 3, Y, X)."""
    map_BYXH = model.image_embedder(pixel_values=pixel_values)[0]
    features_BNH = map_BYXH.flatten(1, 2)
    return features_BNH, model.box_predictor(features_BNH, map_BYXH)
