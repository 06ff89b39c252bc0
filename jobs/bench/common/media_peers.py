"""``transformers.pipeline`` on files, in batches of BATCH: images, recordings, videos.

Recordings are decoded by soundfile, because the pipeline's own way starts the ffmpeg program for each, and resamples
with packages that need not be there; at the model's rate nothing is left to resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.tasks.loading import quiet
from stages.base import Row

BATCH = 8
Answer = Callable[[Sequence[Path]], list[Row]]


def images(folder: Path, labels: Sequence[str], dtype: str) -> Answer:
    """Which of ``labels`` fits best: ``label`` and ``score`` of each file."""
    pipe = _pipeline("zero-shot-image-classification", folder, dtype)

    def answer(files: Sequence[Path]) -> list[Row]:
        found = pipe([str(file) for file in files], candidate_labels=list(labels), batch_size=BATCH)
        return [{"label": one[0]["label"], "score": one[0]["score"]} for one in found]

    return answer


def recordings(folder: Path, dtype: str, *, chunk_s: float, batch: int = BATCH) -> Answer:
    """The ``text`` of each file, with the times of its words."""
    names = {"tokenizer": str(folder), "feature_extractor": str(folder)}
    pipe = _pipeline("automatic-speech-recognition", folder, dtype, **names)

    def answer(files: Sequence[Path]) -> list[Row]:
        found = pipe(_samples(files), batch_size=batch, chunk_length_s=chunk_s, return_timestamps="word")
        return [{"text": one["text"]} for one in found]

    return answer


def _samples(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    import soundfile

    for file in files:
        samples, rate = soundfile.read(file, dtype="float32")
        yield {"raw": samples, "sampling_rate": rate}


def videos(folder: Path, dtype: str, *, every: int) -> Answer:
    """``label`` and ``score`` of one clip of each file, one frame of ``every`` from its beginning."""
    pipe = _pipeline("video-classification", folder, dtype)

    def answer(files: Sequence[Path]) -> list[Row]:
        found = pipe([str(file) for file in files], batch_size=BATCH, frame_sampling_rate=every, top_k=1)
        return [{"label": one[0]["label"], "score": one[0]["score"]} for one in found]

    return answer


def _pipeline(task: str, folder: Path, dtype: str, **names: str) -> Any:  # noqa: ANN401  a Pipeline
    import transformers

    made: Callable[..., Any] = transformers.pipeline
    with quiet():
        return made(task, model=str(folder), device="cpu", dtype=dtype, **names)
