"""What transformers gives by hand for tasks that write about images and recordings: ``generate``, one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from references_audio import samples_of
from references_images import image_of
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer

from stages.base import Row

Reference = Callable[..., list[Row | None]]


def written(folder: Path, inputs: Sequence[Mapping[str, Any]], model_class: str, **options: Any) -> list[Row | None]:
    """The best text, and the geometric mean of its tokens' probabilities from one pass over it."""
    model = getattr(transformers, model_class).from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers: list[Row | None] = []
    for one in inputs:
        with torch.no_grad():
            ids = model.generate(**one, **options)
            if model.config.is_encoder_decoder:
                logits = model(**one, decoder_input_ids=ids[:, :-1]).logits
            else:
                logits = model(**one, input_ids=ids[:, :-1]).logits[:, -(ids.shape[1] - 1) :]
        likely = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[0, :, 0]
        text = tokenizer.decode(ids[0, 1:], skip_special_tokens=True)
        answers.append({"text": text, "score": float(likely.mean().exp()), "sequences": None})
    return answers


def captions(model_class: str) -> Reference:
    def reference(folder: Path, rows: Sequence[Row], **options: Any) -> list[Row | None]:
        processor = AutoImageProcessor.from_pretrained(folder)
        return written(folder, [processor(image_of(row), return_tensors="pt") for row in rows], model_class, **options)

    return reference


def speech(folder: Path, rows: Sequence[Row], **options: Any) -> list[Row | None]:
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    how = {"sampling_rate": extractor.sampling_rate, "return_tensors": "pt"}
    inputs = [extractor(samples_of(row), **how) for row in rows]
    return written(folder, inputs, "SpeechEncoderDecoderModel", **options)


REFERENCES: dict[str, Reference] = {
    "git/image-captioning": captions("GitForCausalLM"),
    "image-captioning": captions("VisionEncoderDecoderModel"),
    "text-recognition": captions("VisionEncoderDecoderModel"),
    "speech-to-text": speech,
    "speech-translation": speech,
}
