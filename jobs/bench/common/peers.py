"""The peers: each does one job the way a person without Manta would do it, on the same inputs and machine.

Loading a model is not counted, and each is asked once before it counts. Each is helped where its manual or its users
know how: tesseract runs one thread a process (OMP_THREAD_LIMIT=1; without it it is several times slower), a process a
core; pipelines get the same number format, the device, and all cores.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.tasks.loading import quiet
from stages.base import Row
from stages.errors import UsageError

if TYPE_CHECKING:
    import torch

# ---- models


@dataclass(frozen=True, kw_only=True)
class Text:
    """``transformers.pipeline("text-classification")`` in batches of ``batch_size``, in the order of the texts."""

    pipe: Any
    batch_size: int = 8
    padding: bool | str = True

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """Every text's best label."""
        texts = [row["text"] for row in rows]
        return list(self.pipe(texts, batch_size=self.batch_size, padding=self.padding, truncation=True))


@dataclass(frozen=True, kw_only=True)
class Questions:
    """``transformers.pipeline("document-question-answering")`` over words and boxes, page by page."""

    pipe: Any

    def __call__(self, rows: Sequence[Row]) -> list[Row]:
        """Every question's best answer."""
        return [self._answer(row) for row in rows]

    def _answer(self, row: Row) -> Row:
        words, boxes = row["words"], row["boxes"]
        assert isinstance(words, list)
        assert isinstance(boxes, list)
        asked = {"image": None, "question": row["question"], "word_boxes": list(zip(words, boxes, strict=True))}
        found = self.pipe(asked)
        one: Row = found[0] if isinstance(found, list) else found
        return one


def open_pipeline(task: str, folder: Path, device: torch.device, dtype: str) -> Any:  # noqa: ANN401  a Pipeline
    """``transformers.pipeline`` of a task, with the checkpoint in ``folder``."""
    import transformers

    made: Callable[..., Any] = transformers.pipeline
    with quiet():
        return made(task, model=str(folder), device=device, dtype=dtype)


def ray_data(table: str, output: str) -> dict[str, float]:
    """Ray Data alone: reads a Parquet table, adds a column, writes Parquet. For a process of its own."""
    import pyarrow as pa
    import ray

    def label(rows: pa.Table) -> pa.Table:
        return rows.append_column("label", pa.repeat("positive", rows.num_rows))

    ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.read_parquet(table).map_batches(label, batch_format="pyarrow").write_parquet(output)
    return {}


# ---- words of images


def tesseract(images: Sequence[Path], processes: int) -> dict[Path, list[str]]:
    """The words of each image by the tesseract program, ``xargs -P processes``."""
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        outputs = [Path(folder) / str(i) for i in range(len(images))]
        lines = [part for image, output in zip(images, outputs, strict=True) for part in (image, output, "tsv")]
        command = ["xargs", "-P", str(processes), "-d", "\n", "-n", "3", "tesseract"]
        done = subprocess.run(
            command,
            input="\n".join(map(str, lines)),
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
        if done.returncode:
            raise UsageError(f"the tesseract program failed: {done.stderr[-300:]}. Try: apt-get install tesseract-ocr")
        texts = (output.with_suffix(".tsv").read_text("utf-8") for output in outputs)
        return dict(zip(images, map(_tsv_words, texts), strict=True))


def _tsv_words(table: str) -> list[str]:
    rows = [line.split("\t") for line in table.splitlines()]
    return [row[11] for row in rows if len(row) == 12 and row[0] == "5" and row[11].strip()]


@contextmanager
def processor(processes: int) -> Iterator[Callable[[Sequence[Path]], dict[Path, list[str]]]]:
    """``LayoutLMv2ImageProcessorPil(apply_ocr=True)`` in several processes, each with one thread."""
    environment = {"OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with _environment(environment), ProcessPoolExecutor(processes, get_context("spawn"), _load) as pool:

        def words(images: Sequence[Path]) -> dict[Path, list[str]]:
            return dict(zip(images, pool.map(_processed, map(str, images)), strict=True))

        yield words


_LOADED: dict[str, Any] = {}
"""The image processor of this child process."""


def _load() -> None:
    from transformers import LayoutLMv2ImageProcessorPil

    _LOADED["processor"] = LayoutLMv2ImageProcessorPil(apply_ocr=True)


def _processed(path: str) -> list[str]:
    from PIL import Image

    with Image.open(path) as image:
        words: list[str] = _LOADED["processor"](image.convert("RGB")).words[0]
    return words


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process's environment, which children inherit, for the time of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
