"""What transformers gives by hand for tasks on images, one image at a time: its pipeline where one exists, else the
documented call. A row's picture has the size that the model takes, so its processor's resizing changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForDepthEstimation,
    AutoModelForVideoClassification,
    AutoTokenizer,
    OwlViTForObjectDetection,
    OwlViTProcessor,
    pipeline,
)

from stages.base import Row

Reference = Callable[..., list[Row | None]]


def image_of(row: Row, column: str = "picture") -> Image.Image:
    picture = row[column]
    shape = picture["height"], picture["width"], 3
    return Image.fromarray(np.frombuffer(picture["pixels"], np.uint8).reshape(shape))


def zero_shot(folder: Path, rows: Sequence[Row], **options: Any) -> list[Row | None]:
    """The zero-shot-image-classification pipeline; where it knows no such model, the documented call."""
    if AutoModel.from_pretrained(folder).config.model_type != "clip":
        return [by_hand(folder, row, **options) for row in rows]
    classify = pipeline("zero-shot-image-classification", model=str(folder))
    found = [classify(image_of(row), candidate_labels=row["candidate_labels"], **options) for row in rows]
    return [{"label": scores[0]["label"], "score": scores[0]["score"], "scores": scores} for scores in found]


def by_hand(folder: Path, row: Row, hypothesis_template: str = "This is a photo of {}.") -> Row:
    labels = row["candidate_labels"]
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = tokenizer([hypothesis_template.format(label) for label in labels], padding=True, return_tensors="pt")
    pixels = AutoImageProcessor.from_pretrained(folder)(image_of(row), return_tensors="pt")
    with torch.no_grad():
        shares = model(**texts, **pixels).logits_per_image[0].softmax(-1).tolist()
    scores = [{"label": labels[n], "score": shares[n]} for n in sorted(range(len(labels)), key=lambda n: -shares[n])]
    return {"label": scores[0]["label"], "score": scores[0]["score"], "scores": scores}


def features(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """``get_image_features`` and ``get_text_features``."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    answers: list[Row | None] = []
    with torch.no_grad():
        for row in rows:
            found = []
            if row.get("picture") is not None:
                found.append(model.get_image_features(**processor(image_of(row), return_tensors="pt")))
            if row.get("text") is not None:
                cut = {"truncation": True, "max_length": 64, "return_tensors": "pt"}
                found.append(model.get_text_features(**tokenizer(row["text"], **cut)))
            vectors = [one.pooler_output[0].tolist() for one in found]
            answers.append({"vector": vectors[0], "text_vector": vectors[1] if len(vectors) > 1 else None})
    return answers


def depth(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The documented call, brought to the size of the image; half a step of the PNG is rounding."""
    model = AutoModelForDepthEstimation.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    answers: list[Row | None] = []
    for row in rows:
        size = row["picture"]["image_height"], row["picture"]["image_width"]
        with torch.no_grad():
            outputs = model(**processor(image_of(row), return_tensors="pt"))
        found = processor.post_process_depth_estimation(outputs, target_sizes=[size])[0]["predicted_depth"]
        low, high = float(found.min()), float(found.max())
        levels = ((found.double() - low) * (65_535 / (high - low))).round().numpy().astype(np.uint16)
        file = io.BytesIO()
        Image.fromarray(levels).save(file, "PNG")
        answers.append({"depth_png": file.getvalue(), "depth_min": low, "depth_max": high})
    return answers


def detection(folder: Path, rows: Sequence[Row], threshold: float = 0.1) -> list[Row | None]:
    """The zero-shot-object-detection pipeline, one label after the other; its boxes are brought to the image's size."""
    detect = pipeline("zero-shot-object-detection", model=str(folder))
    answers: list[Row | None] = []
    for row in rows:
        picture = row["picture"]
        inputs = list(detect.preprocess({"image": image_of(row), "candidate_labels": row["candidate_labels"]}))
        size = torch.tensor([[picture["image_height"], picture["image_width"]]])
        with torch.no_grad():
            outputs = [detect._forward({**each, "target_size": size}) for each in inputs]
        found = detect.postprocess(outputs, threshold=threshold)
        answers.append({"objects": [{**each, "box": list(each["box"].values())} for each in found]})
    return answers


def guided(folder: Path, rows: Sequence[Row], threshold: float = 0.6, nms_threshold: float = 0.3) -> list[Row | None]:
    """``image_guided_detection`` as documented, best first."""
    model = OwlViTForObjectDetection.from_pretrained(folder).eval()
    processor = OwlViTProcessor.from_pretrained(folder)
    answers: list[Row | None] = []
    for row in rows:
        size = torch.tensor([[row["picture"]["image_height"], row["picture"]["image_width"]]])
        inputs = processor(images=image_of(row), query_images=image_of(row, "query_picture"), return_tensors="pt")
        with torch.no_grad():
            outputs = model.image_guided_detection(**inputs)
        limits = {"threshold": threshold, "nms_threshold": nms_threshold, "target_sizes": size}
        found = processor.post_process_image_guided_detection(outputs, **limits)
        pairs = zip(found[0]["scores"].tolist(), found[0]["boxes"].tolist(), strict=True) if found else ()
        best_first = sorted(pairs, key=lambda pair: -pair[0])
        answers.append(
            {"objects": [{"label": None, "score": s, "box": [int(x) for x in box]} for s, box in best_first]}
        )
    return answers


def videos(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The documented call on each clip's frames; several clips by the mean of their logits."""
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    answers: list[Row | None] = []
    for row in rows:
        value = row["clips"]
        shape = value["clips"], value["count"], value["height"], value["width"], 3
        clips = np.frombuffer(value["frames"], np.uint8).reshape(shape)
        with torch.no_grad():
            logits = [model(**processor(list(clip), return_tensors="pt")).logits[0] for clip in clips]
        shares = torch.stack(logits).mean(0).softmax(-1).tolist()
        best_first = sorted(range(len(shares)), key=lambda n: -shares[n])
        scores = [{"label": model.config.id2label[n], "score": shares[n]} for n in best_first]
        answers.append({"label": scores[0]["label"], "score": scores[0]["score"], "scores": scores})
    return answers


REFERENCES: dict[str, Reference] = {
    "zero-shot-image-classification": zero_shot,
    "clip/features": features,
    "depth-estimation": depth,
    "video-classification": videos,
    "zero-shot-object-detection": detection,
    "image-guided-detection": guided,
    "vision_text_dual_encoder/features": features,
}
