"""Photographs, as far as a decoder can tell: clouds of several sizes, sharp edges, grain; JPEG of 640 × 480 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from jobs.bench.made.shapes import COLOURS, SHAPES, drawn

WIDTH, HEIGHT = 640, 480
QUALITY = 90
_CLOUDS = ((4, 3), (16, 12), (80, 60))
"""Columns and rows of the random colours that are scaled up to clouds."""


def write_photographs(folder: Path, count: int) -> list[Path]:
    """``count`` files, every third one upright."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        _photograph(np.random.default_rng([7, number]), upright=number % 3 == 0).save(path, quality=QUALITY)
    return paths


def _photograph(random: np.random.Generator, *, upright: bool) -> Image.Image:
    size = (HEIGHT, WIDTH) if upright else (WIDTH, HEIGHT)
    image = Image.new("RGB", size)
    for cells in _CLOUDS:
        colours = random.integers(0, 256, (cells[1], cells[0], 3), np.uint8)
        cloud = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
        image = Image.blend(image, cloud, 0.5)
    for _ in range(3):
        shape, colour = random.choice(SHAPES), random.choice(list(COLOURS))
        side = int(random.integers(60, 200))
        figure = drawn(shape, side=side, radius=0.45 * side, centre=(side / 2, side / 2))
        image.paste(COLOURS[colour], (int(random.integers(0, 400)), int(random.integers(0, 400))), figure)
    grain = random.normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
