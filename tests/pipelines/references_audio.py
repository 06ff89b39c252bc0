"""What transformers gives by hand for tasks on recordings, one at a time: its pipeline where one exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline

from stages.base import Row

Reference = Callable[..., list[Row | None]]


def samples_of(row: Row) -> np.ndarray:
    return np.frombuffer(row["sound"]["samples"], np.float32).copy()


def recognition(folder: Path, rows: Sequence[Row], **options: Any) -> list[Row | None]:
    """The automatic-speech-recognition pipeline with word times; scores by hand from its model's logits."""
    listen = pipeline("automatic-speech-recognition", model=str(folder), tokenizer=str(folder))
    chunked = {"chunk_length_s": options.get("chunk_s", 20.0), "return_timestamps": "word"}
    answers: list[Row | None] = []
    for row in rows:
        found = listen(samples_of(row), **chunked)
        times = [
            {"text": one["text"], "start": one["timestamp"][0], "end": one["timestamp"][1]} for one in found["chunks"]
        ]
        answers.append({"text": found["text"], "word_times": times})
    return answers


def best_path(folder: Path, row: Row) -> np.ndarray:
    """The logarithm of the best character's probability, frame by frame, of a recording that is one chunk."""
    listen = pipeline("automatic-speech-recognition", model=str(folder), tokenizer=str(folder))
    inputs = listen.feature_extractor(samples_of(row), sampling_rate=row["sound"]["rate"], return_tensors="pt")
    with torch.no_grad():
        return listen.model(**inputs).logits[0].log_softmax(-1).max(-1).values.numpy()


def scored(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """``recognition`` with scores."""
    frame_s = 80 / 8000
    answers: list[Row | None] = []
    for row, found in zip(rows, recognition(folder, rows), strict=True):
        shares = best_path(folder, row)
        words = []
        for word in found["word_times"]:
            span = slice(round(word["start"] / frame_s), round(word["end"] / frame_s))
            words.append({**word, "score": float(np.exp(shares[span].mean()))})
        answers.append({"text": found["text"], "score": float(np.exp(shares.mean())), "word_times": words})
    return answers


def classification(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The audio-classification pipeline."""
    classify = pipeline("audio-classification", model=str(folder), top_k=None)
    found = [classify({"raw": samples_of(row), "sampling_rate": row["sound"]["rate"]}) for row in rows]
    return [{"label": scores[0]["label"], "score": scores[0]["score"], "scores": scores} for scores in found]


def features(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The documented call, averaged over time."""
    model, extractor = AutoModel.from_pretrained(folder).eval(), AutoFeatureExtractor.from_pretrained(folder)
    answers: list[Row | None] = []
    for row in rows:
        inputs = extractor(samples_of(row), sampling_rate=row["sound"]["rate"], return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        answers.append({"vector": hidden.mean(0).tolist(), "vectors": None})
    return answers


REFERENCES: dict[str, Reference] = {
    "automatic-speech-recognition": scored,
    "audio-classification": classification,
    "sew_d/features": features,
}
