"""Small documents that tests make for themselves."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pikepdf
from PIL import Image, ImageDraw, ImageFont
from reportlab.pdfgen.canvas import Canvas

LINES = (
    "Invoice number 4711 of the Example Company",
    "Date of issue 12 March 2026, due 11 April 2026",
    "Ten oak desks and four office chairs delivered",
    "Total amount payable 1,234.50 including tax",
)


def pdf(path: Path, pages: int = 1, word: str = "alpha") -> Path:
    """A born-digital PDF; every page says its number and ``word``."""
    canvas = Canvas(str(path), pagesize=(595, 842), invariant=True)
    for page in range(1, pages + 1):
        canvas.setFont("Helvetica", 14)
        for i, line in enumerate((f"{word} page {page} of {pages}", *LINES)):
            canvas.drawString(60, 760 - 24 * i, line)
        canvas.showPage()
    canvas.save()
    return path


def scan(path: Path, text: str = "SCANNED RECEIPT 42") -> Path:
    """An image with a few large words."""
    image = Image.new("L", (900, 500), 255)
    font = ImageFont.load_default(40)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate((text, "Total 99.00", "Thank you very much")):
        draw.text((60, 60 + 120 * i), line, fill=0, font=font)
    image.save(path)
    return path


def dense_scan(path: Path) -> Path:
    """An image of 2,600 small words: OCR is at it for several seconds."""
    letters = random.Random(1)
    image = Image.new("L", (3000, 2000), 255)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(20)
    for y in range(20, 1960, 30):
        words = ("".join(letters.choices(string.ascii_lowercase, k=6)) for _ in range(40))
        draw.text((20, y), " ".join(words), fill=0, font=font)
    image.save(path)
    return path


def encrypted(path: Path) -> Path:
    """A PDF that wants a password."""
    pdf(path)
    with pikepdf.open(path, allow_overwriting_input=True) as file:
        file.save(path, encryption=pikepdf.Encryption(user="secret", owner="owner"))
    return path


def broken(path: Path) -> Path:
    """Begins like a PDF, then is something else."""
    path.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 4)
    return path


def corpus(folder: Path) -> Path:
    """Two PDFs (1 and 3 pages), a scan, a broken, an encrypted and an empty file: 4 good pages, 3 bad documents."""
    folder.mkdir(parents=True, exist_ok=True)
    pdf(folder / "one.pdf")
    pdf(folder / "three.pdf", 3, "beta")
    scan(folder / "scan.png")
    broken(folder / "broken.pdf")
    encrypted(folder / "encrypted.pdf")
    (folder / "empty.pdf").touch()
    return folder
