"""FUNSD-style annotations: a JSON file a page with its form's entities, and the page's image.

As in FUNSD (Jaume et al. 2019, https://arxiv.org/abs/1905.13538): ``form`` lists entities with ``label`` and ``words``,
each with ``text`` and a ``box`` in pixels of the image. ``other`` is no entity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from jobs.labelled.files import File, by_stem, image_beside
from pipelines import Task
from stages.base import Row
from stages.errors import UsageError
from stages.words import normalised

ABOUT = "FUNSD's annotations (a .json a page with form, words and boxes, images of the same names)"
COLUMNS = ("words", "boxes", "labels", "image")
TABLES = False


def recognises(files: Sequence[File], task: Task) -> bool:
    """JSON files whose top is ``form``."""
    pages = _pages(files)
    if "labels" not in task.gold or not pages:
        return False
    first = pages[0].json()
    return isinstance(first, dict) and isinstance(first.get("form"), list)


def rows(files: Sequence[File]) -> Iterator[Row]:
    """One row a page."""
    images = by_stem(list(files))
    for file in _pages(files):
        image = image_beside(file, images)
        words, boxes, labels = _form(file)
        corners = normalised(np.array(boxes, np.float64).reshape(-1, 4), *image.image_size())
        yield {
            "uri": file.uri,
            "words": words,
            "boxes": corners.tolist(),
            "labels": labels,
            "image": image.uri.encode(),
        }


def _pages(files: Sequence[File]) -> list[File]:
    return [file for file in files if file.suffix == "json"]


def _form(file: File) -> tuple[list[str], list[list[float]], list[str]]:
    """The page's words with boxes in pixels and labels, in the annotation's order."""
    value = file.json()
    if not isinstance(value, dict) or not isinstance(value.get("form"), list):
        raise UsageError(f"{file.uri} is no page of FUNSD's form: it has no list 'form'")
    words: list[str] = []
    boxes: list[list[float]] = []
    labels: list[str] = []
    for number, entity in enumerate(value["form"]):
        try:
            kind, prefix = str(entity["label"]).upper(), "B"
            for word in cast("list[Row]", entity["words"]):
                if not str(word["text"]).strip():
                    continue
                box = [float(each) for each in cast("list[float]", word["box"])]
                if len(box) != 4:
                    raise ValueError(f"a box of {len(box)} numbers")  # noqa: TRY301 - told with all the others, below
                words.append(str(word["text"]).strip())
                boxes.append(box)
                labels.append("O" if kind == "OTHER" else f"{prefix}-{kind}")
                prefix = "I"
        except (KeyError, TypeError, ValueError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{file.uri}, entity {number} of 'form' (from 0): {why}") from error
    return words, boxes, labels
