"""PDFs searched as a user does it: one command indexes them, one asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.bench.common.programs import manta, watch
from stages.base import Row
from stages.vectors import about


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What the two commands did."""

    index_s: float
    """From start to exit."""
    search_s: float
    pages: int
    failed: int
    """Pages and documents that could not be read, each with its error row."""
    passages: int
    best: list[Row]
    """Each question's ``question``, and ``uri``, ``text`` and ``score`` of its best passage."""


def search_pdfs(family: str, checkpoint: Path, pdfs: Path, questions: Sequence[str], folder: Path) -> Searched:
    """``manta run FAMILY --task index``, then ``--task search``; both write below ``folder``."""
    import pyarrow.dataset as ds

    asked, index, hits = folder / "asked.jsonl", str(folder / "pdf-index"), str(folder / "pdf-hits")
    asked.write_text("".join(json.dumps({"question": one}) + "\n" for one in questions), "utf-8")
    common = ("--checkpoint", str(checkpoint), "--json", "--quiet")
    words = ("run", family, "--task", "index", "--input", str(pdfs), "--output", index)
    indexed = watch(manta(*words, *common), fine=(0, 3))
    words = ("run", family, "--task", "search", "--input", str(asked), "--output", hits)
    searched = watch(manta(*words, "--set", f"task.index={index}", *common))
    record = json.loads(indexed.out)
    rows = ds.dataset(f"{hits}/results", format="parquet").to_table().sort_by("record").to_pylist()
    return Searched(
        index_s=indexed.seconds,
        search_s=searched.seconds,
        pages=record["pages"]["ok"],
        failed=sum(record["errors"].values()),
        passages=about(f"{index}/index").passages,
        best=[{"question": row["question"], **row["hits"][0]} for row in rows],
    )
