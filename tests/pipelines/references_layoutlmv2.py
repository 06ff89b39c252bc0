"""What transformers gives by hand for LayoutLMv2: its processor and its own classes.

Only the visual backbone, which transformers takes from detectron2, is ours; tests/pipelines/test_layoutlmv2.py holds it
against numbers that detectron2 gave. Everything behind it is transformers': embeddings, eager attention with biases
that are added layer by layer, heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from references_layout import LENGTH, Reference, Windows, _words_labelled
from transformers import AutoTokenizer, LayoutLMv2ImageProcessorPil, LayoutLMv2Processor, pipeline
from transformers.models.layoutlmv2 import modeling_layoutlmv2 as original

from pipelines.layoutlmv2.backbone import LayoutLMv2VisualBackbone
from pipelines.layoutlmv2.resnet import FrozenBatchNorm2d
from stages.base import Row


@contextlib.contextmanager
def without_detectron2() -> Iterator[None]:
    """Within it, transformers' classes can be built: with our backbone."""
    stand_in = SimpleNamespace(layers=SimpleNamespace(FrozenBatchNorm2d=FrozenBatchNorm2d))
    changes = {
        "requires_backends": lambda *_: None,
        "detectron2": stand_in,
        "LayoutLMv2VisualBackbone": _Backbone,
    }
    before = {name: getattr(original, name) for name in changes if hasattr(original, name)}
    for name, value in changes.items():
        setattr(original, name, value)
    try:
        yield
    finally:
        for name in changes:
            delattr(original, name)
        for name, value in before.items():
            setattr(original, name, value)


class _Backbone(LayoutLMv2VisualBackbone):
    """Ours, with the attribute by which transformers fills the pixels' mean and deviation."""

    def __init__(self, config) -> None:
        super().__init__(config)
        pixels = {"PIXEL_MEAN": self._settings.pixel_mean, "PIXEL_STD": self._settings.pixel_std}
        self.cfg = SimpleNamespace(MODEL=SimpleNamespace(**pixels))


def theirs(folder: Path, model_class: str) -> torch.nn.Module:
    """Transformers' class with the checkpoint's weights, all of them."""
    with without_detectron2():
        model, found = getattr(original, model_class).from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    return model.eval()


class SeenWindows(Windows):
    """Each window's encoding by LayoutLMv2Processor, and the model's outputs."""

    def __init__(self, folder: Path, model_class: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = LayoutLMv2Processor(LayoutLMv2ImageProcessorPil(apply_ocr=False), self.tokenizer)
        self.model = theirs(folder, model_class)
        self.stride = LENGTH // 4

    def of(self, row: Row) -> RowWindows:
        """The same for one page: its image goes with every call."""
        return RowWindows(self, page_image(row))


class RowWindows:
    """What ``_windowed`` calls, on one page."""

    def __init__(self, windows: SeenWindows, image: Image.Image) -> None:
        self.tokenizer, self.model, self.stride = windows.tokenizer, windows.model, windows.stride
        self._processor, self._image = windows.processor, image

    def __call__(self, words, *, boxes):
        found = self._processor(
            self._image,
            words,
            boxes=boxes,
            truncation=True,
            max_length=LENGTH,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        names = ("input_ids", "token_type_ids", "attention_mask", "bbox")
        for place in range(len(found["input_ids"])):
            inputs = {name: torch.tensor([found[name][place]]) for name in names}
            image = torch.tensor(np.ascontiguousarray(found["image"][place]))[None]
            with torch.no_grad():
                yield place, found, self.model(**inputs, image=image)


def page_image(row: Row) -> Image.Image:
    """The row's pixels as an image."""
    return Image.frombytes("RGB", (224, 224), row["pixels"])


def features(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The mean of the words' last hidden states; over several windows the mean of theirs."""
    run = SeenWindows(folder, "LayoutLMv2Model")
    answers = []
    for row in rows:
        found = [
            outputs.last_hidden_state[0, : len(encoding["input_ids"][place])].mean(0)
            for place, encoding, outputs in run.of(row)(row["words"], boxes=row["boxes"])
        ]
        answers.append({"vector": torch.stack(found).mean(0).tolist(), "vectors": None})
    return answers


def document_classification(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented call; over several windows the mean of their logits."""
    run = SeenWindows(folder, "LayoutLMv2ForSequenceClassification")
    names = run.model.config.id2label
    answers = []
    for row in rows:
        windows = [outputs.logits[0] for *_, outputs in run.of(row)(row["words"], boxes=row["boxes"])]
        shares = torch.stack(windows).mean(0).softmax(-1).tolist()
        best_first = sorted(range(len(shares)), key=lambda n: -shares[n])
        scores = [{"label": names[n], "score": shares[n]} for n in best_first]
        answers.append({**scores[0], "scores": scores})
    return answers


def token_classification(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Labels of first sub-words by hand; entities by transformers' own grouping."""
    run = SeenWindows(folder, "LayoutLMv2ForTokenClassification")
    ner = pipeline("token-classification", model=run.model, tokenizer=run.tokenizer)
    return [_words_labelled(run.of(row), ner, row, boxed=True) for row in rows]


def document_question_answering(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Transformers' pipeline with the row's words, boxes and image."""
    ask = pipeline(
        "document-question-answering",
        model=theirs(folder, "LayoutLMv2ForQuestionAnswering"),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        image_processor=LayoutLMv2ImageProcessorPil(apply_ocr=False),
    )
    answers = []
    for row in rows:
        word_boxes = list(zip(row["words"], row["boxes"], strict=True))
        best = ask({"image": page_image(row), "question": row["question"], "word_boxes": word_boxes})[0]
        answers.append({"question": row["question"], **best})
    return answers


REFERENCES: dict[str, Reference] = {
    "layoutlmv2/features": features,
    "layoutlmv2/document-classification": document_classification,
    "layoutlmv2/token-classification": token_classification,
    "layoutlmv2/document-question-answering": document_question_answering,
}
