"""Zero-shot image classification: which of several labels in any words fits an image best.

B images of a batch, T labels of a row, P numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.dual import CandidateOptions, CandidatesTask
from pipelines.tasks.scores import softmax
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions(CandidateOptions):
    """Options of zero-shot classification."""

    hypothesis_template: str = "This is a photo of {}."
    """sentence that each label is put into, at {}"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{}" not in self.hypothesis_template:
            raise UsageError(f"task.hypothesis_template must hold {{}} for the label, not {self.hypothesis_template!r}")


class ZeroShotImageClassification(CandidatesTask):
    """Compares an image with each label."""

    name = "zero-shot-image-classification"
    summary = "which of several labels, in any words, fits an image best"
    writes: ClassVar[tuple[str, ...]] = ("label", "score", "scores")
    options_type = ZeroShotOptions
    options: ZeroShotOptions

    def phrase(self, label: str) -> str:
        """The label in its sentence."""
        return self.options.hypothesis_template.replace("{}", label)

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``logits`` (T,) of each example: the cosine of image and label, scaled as the checkpoint learned."""
        from torch.nn.functional import normalize

        images_BP = normalize(self.image_vectors(batch["pixel_values"]), dim=-1)
        scale = self.towers().logit_scale.float().exp()
        outputs: list[Output] = []
        for one, image_P in zip(examples, images_BP, strict=True):
            logits_T = scale * (normalize(self.candidates(one), dim=-1) @ image_P)
            outputs.append({"logits": logits_T.cpu().numpy()})
        return outputs

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``label, score, scores``."""
        labels = self.labels_of(row)
        shares = softmax(np.asarray(outputs[0]["logits"], np.float32))
        best_first = np.argsort(-shares, kind="stable")[: self.options.top_k or None]
        scores = [{"label": labels[int(i)], "score": float(shares[i])} for i in best_first]
        return {"label": scores[0]["label"], "score": scores[0]["score"], "scores": scores}
