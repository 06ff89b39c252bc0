"""An output as a finished run over many one-page files leaves it, made without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from stages.columns import COLUMNS, PAGES, documents_schema, results_schema, schema
from stages.listing import LISTED
from stages.parts import RunStamp, encode
from stages.storage import open_storage

STAMP = RunStamp(
    run_id="0" * 32,
    family="bert",
    task="text-classification",
    checkpoint="a checkpoint",
    fingerprint="f" * 32,
    read_fingerprint="e" * 32,
)
ANSWERS = ("label", "score", "scores")
PART_ROWS = {"pages": 2_500, "results": 50_000, "documents": 100_000}
"""Rows of one part once small parts are joined (8 MB): a page's words take 3 kB, an answer 150 bytes."""
LISTED_ROWS = 50_000
"""Files of one table of a listing."""


def write_output(folder: Path, count: int) -> int:
    """Writes pages/, results/ and documents/ of ``count`` files; returns how many parts that makes.

    Columns that planning never reads (words, answers) are null: only keys and signatures are as they would be.
    """
    storage = open_storage(str(folder))
    shapes = {"pages": schema(PAGES), "results": results_schema(ANSWERS), "documents": documents_schema(())}
    parts = 0
    for name, shape in shapes.items():
        for start in range(0, count, PART_ROWS[name]):
            rows = _rows(shape, start, min(count, start + PART_ROWS[name]))
            storage.put(f"{name}/{start:032x}.parquet", encode(rows, shape, STAMP))
            parts += 1
    return parts


def listed(count: int) -> Iterator[pa.Table]:
    """The listing of these files, table by table, as ``stages.listing`` gives it."""
    for start in range(0, count, LISTED_ROWS):
        uris, sources = _keys(start, min(count, start + LISTED_ROWS))
        sizes, kinds = pa.repeat(pa.scalar(60_000, pa.int64()), len(uris)), pa.repeat("pdf", len(uris))
        yield pa.table([uris, sources, sizes, kinds], schema=LISTED)


def _keys(start: int, end: int) -> tuple[pa.Array, pa.Array]:
    numbers = range(start, end)
    uris = [f"/corpus/scans/{number // 1000:06d}/document-{number:08d}.pdf" for number in numbers]
    return pa.array(uris), pa.array([f"60000-17{number:017d}" for number in numbers])


def _rows(shape: pa.Schema, start: int, end: int) -> pa.Table:
    uris, sources = _keys(start, end)
    count = end - start
    known: dict[str, object] = {
        "page": 1,
        "pages": 1,
        "record": 0,
        "status": "ok",
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "run_id": STAMP.run_id,
        "fingerprint": STAMP.fingerprint,
        "read_fingerprint": STAMP.read_fingerprint,
        "checkpoint": STAMP.checkpoint,
        "reader": "layer:pdfium",
    }
    columns = {"uri": uris, "source": sources}
    for field in shape:
        if field.name not in columns:
            kind = COLUMNS[field.name].type
            value = known.get(field.name)
            columns[field.name] = pa.nulls(count, kind) if value is None else pa.repeat(pa.scalar(value, kind), count)
    return pa.table({field.name: columns[field.name] for field in shape})
