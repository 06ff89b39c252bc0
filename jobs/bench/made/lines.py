"""Images of one printed line each: words and numbers in several sizes, on paper that is not quite white."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 288, 32
"""Of an image, in pixels."""
LONGEST = 24
"""Characters of a line."""
WORDS = """
account address amount bank box card cash change city code company contact copy credit customer date debit delivery due
email fax file from gross hotel invoice item late list name net note number office order page paid paper pay phone
price quote rate refund room sale ship shop store street sum table tax terms thanks ticket time total unit user vat
week year
""".split()  # noqa: SIM905


def line(random: np.random.Generator) -> str:
    """Two to five words and numbers of one to four digits."""
    parts = [_part(random) for _ in range(int(random.integers(2, 6)))]
    while len(" ".join(parts)) > LONGEST:
        parts.pop()
    return " ".join(parts)


def _part(random: np.random.Generator) -> str:
    if random.random() < 0.6:
        return str(random.choice(WORDS))
    return "".join(str(random.integers(10)) for _ in range(int(random.integers(1, 5))))


def png(text: str, random: np.random.Generator) -> bytes:
    """An image file of the line, cut close above and below: size, place, ink, paper and grain by chance."""
    paper, ink = int(random.integers(200, 256)), int(random.integers(0, 80))
    image = Image.new("L", (WIDTH, HEIGHT), paper)
    font = ImageFont.load_default(size=int(random.integers(16, 19)))
    pen = ImageDraw.Draw(image)
    pen.text((int(random.integers(2, 8)), int(random.integers(3, 6))), text, fill=ink, font=font)
    pixels = np.asarray(image) + random.normal(0, 8, (HEIGHT, WIDTH))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB").save(file, "PNG")
    return file.getvalue()
