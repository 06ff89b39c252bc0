"""Documents for the benches: scanned invoices with what they say, and a long born-digital PDF. Always the same."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from jobs.invoices.facts import draw
from jobs.invoices.layouts import TEST_LAYOUTS, new_sheet
from jobs.invoices.names import TEST
from jobs.invoices.pdf import to_pdf
from jobs.invoices.scan import draw_scanner, scan
from jobs.invoices.sheet import Sheet
from pipelines.tasks.tiny import WORDS
from stages.errors import UsageError

ANNOTATIONS = "receipts.jsonl"
"""One image a line: image (path below the folder, or null), width, height (pixels), lines [{box, text}]."""
BOOK_LINES, BOOK_WORDS = 42, 10
"""Lines of a page of the book, and words of a line."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image and the words on it."""

    path: Path
    words: tuple[str, ...]


def annotated(folder: Path, most: int | None = None) -> list[Annotated]:
    """The images that ``receipts.jsonl`` names. Raises UsageError where there are none."""
    file = folder / ANNOTATIONS
    if not file.is_file():
        raise UsageError(f"{folder} has no {ANNOTATIONS}: one image a line with image, width, height and lines")
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    found = [
        Annotated(
            path=folder / record["image"],
            words=tuple(word for line in record["lines"] for word in line["text"].split()),
        )
        for record in records
        if record["image"]
    ]
    if not found:
        raise UsageError(f"no line of {file} names an image")
    return found[:most]


def digest(files: Sequence[Path]) -> str:
    """One hash over the contents of files."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]


def write_scans(folder: Path, count: int) -> Path:
    """``count`` scanned invoices as JPEG with their annotations, as ``annotated`` reads them."""
    import pypdfium2

    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(count):
        rng, sheet = _invoice(number)
        scanner = draw_scanner(rng, 0)
        with pypdfium2.PdfDocument(scan(to_pdf(sheet), scanner, seed=number)) as document:
            image = document[0].render(scale=scanner.dpi / 72).to_pil()
        name = f"images/{number:03d}.jpg"
        image.save(folder / name, quality=90, dpi=(scanner.dpi, scanner.dpi))
        texts = [{"box": [0, 0, 0, 0], "text": line.text} for line in sheet.lines]
        lines.append(json.dumps({"image": name, "width": image.width, "height": image.height, "lines": texts}))
    (folder / ANNOTATIONS).write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def one_page(folder: Path) -> Path:
    """A folder that holds one scanned page."""
    rng, sheet = _invoice(0)
    folder.mkdir(parents=True)
    (folder / "page.pdf").write_bytes(scan(to_pdf(sheet), draw_scanner(rng, 0), seed=0))
    return folder


def book(file: Path, pages: int) -> Path:
    """A born-digital PDF of ``pages`` pages of about 420 words, as a text processor makes it."""
    from reportlab.pdfgen.canvas import Canvas

    rng, data = Random(1455), io.BytesIO()  # noqa: S311 - text, not secrets
    canvas = Canvas(data, pagesize=(595, 842), invariant=1, pageCompression=1)
    for page in range(1, pages + 1):
        canvas.setFont("Helvetica-Bold", 12)
        canvas.drawString(60, 790, f"Chapter {1 + page // 20}")
        text = canvas.beginText(60, 760)
        text.setFont("Times-Roman", 11)
        text.setLeading(16)
        for _ in range(BOOK_LINES):
            text.textLine(" ".join(rng.choices(WORDS, k=BOOK_WORDS)))
        canvas.drawText(text)
        canvas.drawCentredString(297, 40, str(page))
        canvas.showPage()
    canvas.save()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.getvalue())
    return file


def _invoice(number: int) -> tuple[Random, Sheet]:
    rng = Random(f"bench {number}")  # noqa: S311 - invoices, not secrets
    sheet = new_sheet(rng)
    TEST_LAYOUTS[number % len(TEST_LAYOUTS)](sheet, rng, draw(rng, TEST))
    return rng, sheet
