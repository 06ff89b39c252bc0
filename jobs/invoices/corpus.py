"""The demo's two corpora: a table of training rows, and a folder of test documents with what they should say.

Training draws TRAIN names within TRAIN layouts; testing draws TEST names within TEST layouts. Pure functions of a seed,
so any process can make any part.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.compute as pc

from jobs.invoices.blocks import LABELS
from jobs.invoices.facts import draw
from jobs.invoices.layouts import TEST_LAYOUTS, TRAIN_LAYOUTS, Layout, new_sheet
from jobs.invoices.names import TEST, TRAIN, Names
from jobs.invoices.pdf import to_pdf
from jobs.invoices.rows import disturbed, labelled
from jobs.invoices.scan import draw_scanner, scan, to_png
from jobs.invoices.sheet import Sheet
from stages.columns import schema

WORD_LABELS = ("O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI"))
"""The labels of the words."""

IMAGE_DPI = 40
"""Of the images in a table: more than 224 pixels a side, which is what LayoutLMv2 looks at."""
_TURNS = (0, 0, 0, 90, 0, 0, 180, 0)
"""How the scans lie, in turn."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One test document and what it says."""

    name: str
    """File name."""
    kind: str
    """``scan``, ``digital``, or why it cannot be read: ``corrupt`` or ``password_required``."""
    layout: str
    entities: tuple[tuple[str, str], ...]
    """Label and text of every entity."""


def training_rows(seed: int, first: int, count: int) -> pa.Table:
    """Rows ``first`` to ``first + count`` of the training table ``seed``: words, boxes, labels."""
    rows = []
    for at in range(first, first + count):
        rng = _seeded("train", seed, at)
        page = disturbed(_sheet(rng, TRAIN, rng.choice(TRAIN_LAYOUTS)), rng)
        rows.append({"words": page.words, "boxes": page.boxes, "labels": page.labels})
    return pa.Table.from_pylist(rows, schema=schema(("words", "boxes", "labels")))


def looking_rows(seed: int, first: int, count: int, names: Names = TRAIN) -> pa.Table:
    """Rows of pages as they were laid out, with what they look like: words, boxes, labels, image (PNG)."""
    rows = []
    for at in range(first, first + count):
        rng = _seeded("looking", seed, at)
        sheet = _sheet(rng, names, rng.choice(TRAIN_LAYOUTS))
        page, image = labelled(sheet), to_png(to_pdf(sheet), IMAGE_DPI)
        rows.append({"words": page.words, "boxes": page.boxes, "labels": page.labels, "image": image})
    return pa.Table.from_pylist(rows, schema=schema(("words", "boxes", "labels", "image")))


def write_document(folder: Path, seed: int, at: int, *, scanned: bool) -> Document:
    """Writes test document ``at`` of the corpus ``seed`` into ``folder``: an invoice, scanned or born digital."""
    rng = _seeded("test", seed, at)
    layout = TEST_LAYOUTS[at % len(TEST_LAYOUTS)]
    sheet = _sheet(rng, TEST, layout)
    pdf, kind = to_pdf(sheet), "digital"
    if scanned:
        kind, turn = "scan", _TURNS[at // len(TEST_LAYOUTS) % len(_TURNS)]
        pdf = scan(pdf, draw_scanner(rng, turn), seed=rng.randrange(2**31))
    name = f"{at:03d}-{kind}-{layout.__name__}.pdf"
    (folder / name).write_bytes(pdf)
    spans = [span for line in sheet.lines for span in line.spans if span.label]
    entities = tuple((span.label, span.text) for span in spans)
    return Document(name=name, kind=kind, layout=layout.__name__, entities=entities)


def write_unreadable(folder: Path, seed: int) -> list[Document]:
    """Writes two documents that no one can read: one cut short and overwritten, one encrypted."""
    import pikepdf

    rng = _seeded("unreadable", seed)
    pdf = to_pdf(_sheet(rng, TEST, TEST_LAYOUTS[0]))
    (folder / "broken.pdf").write_bytes(pdf[:200] + rng.randbytes(400))
    locked = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        password = rng.randbytes(16).hex()
        document.save(locked, encryption=pikepdf.Encryption(owner=password, user=password))
    (folder / "locked.pdf").write_bytes(locked.getvalue())
    return [
        Document(name="broken.pdf", kind="corrupt", layout="", entities=()),
        Document(name="locked.pdf", kind="password_required", layout="", entities=()),
    ]


def _seeded(*parts: str | int) -> Random:
    return Random(" ".join(map(str, parts)))  # noqa: S311 - invoices, not keys


def _sheet(rng: Random, names: Names, layout: Layout) -> Sheet:
    facts = draw(rng, names)
    sheet = new_sheet(rng)
    layout(sheet, rng, facts)
    return sheet


def texts(table: pa.Table) -> Sequence[str]:
    """Every word of the table, row after row."""
    words: list[str] = pc.list_flatten(table["words"]).to_pylist()
    return words
