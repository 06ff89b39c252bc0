"""Shapes in colours, and what they are called: images to learn names and captions from."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

Paint = tuple[int, int, int]
Corner = tuple[float, float]
Outline = Sequence[Sequence[Corner]]
"""Polygons, in radii from the middle, x to the right and y down."""
SHAPES = ("circle", "square", "triangle", "cross", "star", "ring", "moon", "bar")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 215, 50),
    "purple": (140, 50, 170),
    "orange": (240, 140, 30),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
}
GROUNDS = {"white": (245, 245, 245), "grey": (150, 150, 150), "black": (15, 15, 15)}
SIZES = {"small": 0.33, "large": 0.42}
"""Radius by name, as a share of the image's side."""
SIDE = 32
"""Rows and columns of an image, in pixels."""
_STANDS_OFF = 100.0
"""Least distance of a paint from its ground, of the 441 from black to white."""
_UNLIKE = 80.0
"""Least distance of a paint from the colours that its shape may not have."""
_OFF = 0.04
"""How far from the middle a figure may stand, as a share of the side."""
_FINER = 4
"""Edges are drawn so many times as large, and made smooth by scaling down."""
_HELD_OUT = 4
"""One of so many combinations of shape and colour is held out."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What an image shows."""

    shape: str
    colour: str
    size: str
    ground: str
    paint: Paint | None = None
    """What it is painted with instead of its colour's own red, green and blue."""
    outline: Outline | None = None
    """What it looks like instead of its shape."""

    @property
    def name(self) -> str:
        """Colour and shape."""
        return f"{self.colour} {self.shape}"

    @property
    def caption(self) -> str:
        """All of it in one sentence."""
        return f"a {self.size} {self.colour} {self.shape} on {self.ground} ground"


def names(*, held_out: bool) -> list[tuple[str, str]]:
    """Combinations (shape, colour) that are held out, or the others; each shape and colour is among both."""
    return [
        (shape, colour)
        for row, shape in enumerate(SHAPES)
        for column, colour in enumerate(COLOURS)
        if ((row + column) % _HELD_OUT == 0) == held_out
    ]


def figures(count: int, combinations: Sequence[tuple[str, str]], seed: int) -> list[Figure]:
    """``count`` figures, each combination as often as any other, in mixed order."""
    random = np.random.default_rng(seed)
    order = random.permutation(np.arange(count) % len(combinations))
    return [
        Figure(
            shape=combinations[at][0],
            colour=combinations[at][1],
            size=str(random.choice(list(SIZES))),
            ground=str(random.choice(list(GROUNDS))),
        )
        for at in order
    ]


def repainted(figure: Figure, combinations: Sequence[tuple[str, str]], random: np.random.Generator) -> Figure:
    """The figure in any paint that stands off its ground and is unlike the colours its shape may not have."""
    banned = [code for colour, code in COLOURS.items() if (figure.shape, colour) not in combinations]
    while True:
        red, green, blue = random.integers(0, 256, 3).tolist()
        paint = red, green, blue
        stands_off = math.dist(GROUNDS[figure.ground], paint) > _STANDS_OFF
        if stands_off and all(math.dist(code, paint) > _UNLIKE for code in banned):
            return replace(figure, paint=paint)


def reshaped(figure: Figure, random: np.random.Generator) -> Figure:
    """The figure's colour on something of 5 to 9 corners that has no name."""
    return replace(figure, outline=[_around(*random.uniform(0.3, 1.1, random.integers(5, 10)))])


def png(figure: Figure, random: np.random.Generator, *, side: int = SIDE) -> bytes:
    """An image file of the figure, somewhere in it, turned a little, its colours a little off."""
    radius = side * SIZES[figure.size] * random.uniform(0.9, 1.1)
    middle = random.uniform(0.5 - _OFF, 0.5 + _OFF, 2) * side
    mask = drawn(
        figure.outline or figure.shape,
        side=side,
        radius=radius,
        centre=(middle[0], middle[1]),
        turn=random.uniform(-0.1, 0.1),
    )
    image = Image.new("RGB", (side, side), GROUNDS[figure.ground])
    image.paste(figure.paint or COLOURS[figure.colour], (0, 0), mask)
    pixels = np.asarray(image) + random.normal(0, 6, (side, side, 3)) + random.uniform(-15, 15, 3)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def drawn(
    shape: str | Outline, *, side: int, radius: float, centre: tuple[float, float], turn: float = 0.0
) -> Image.Image:
    """How much of each pixel (side × side, 0 to 255) a shape covers. ``turn`` is in radians."""
    image = Image.new("L", (side * _FINER, side * _FINER))
    pen = ImageDraw.Draw(image)
    x, y, r = (_FINER * one for one in (*centre, radius))
    box = (x - r, y - r, x + r, y + r)
    match shape:
        case "circle":
            pen.ellipse(box, fill=255)
        case "ring":
            pen.ellipse(box, outline=255, width=max(1, round(0.35 * r)))
        case "moon":
            pen.ellipse(box, fill=255)
            pen.ellipse((x - 0.3 * r, y - 1.1 * r, x + 1.5 * r, y + 0.7 * r), fill=0)
        case _:
            for corners in _CORNERS[shape] if isinstance(shape, str) else shape:
                pen.polygon([_turned(one, turn, x, y, r) for one in corners], fill=255)
    return image.resize((side, side), Image.Resampling.BOX)


def _turned(corner: Corner, turn: float, x: float, y: float, r: float) -> Corner:
    across, down = corner
    cosine, sine = math.cos(turn), math.sin(turn)
    return x + r * (cosine * across - sine * down), y + r * (sine * across + cosine * down)


def _rectangle(wide: float, high: float) -> list[Corner]:
    return [(-wide, -high), (wide, -high), (wide, high), (-wide, high)]


def _around(*radii: float) -> list[Corner]:
    """Corners at equal angles, the first at the top."""
    angles = [2 * math.pi * n / len(radii) for n in range(len(radii))]
    return [(r * math.sin(angle), -r * math.cos(angle)) for r, angle in zip(radii, angles, strict=True)]


_CORNERS: dict[str, Outline] = {
    "square": [_rectangle(0.8, 0.8)],
    "triangle": [_around(1, 1, 1)],
    "cross": [_rectangle(0.95, 0.3), _rectangle(0.3, 0.95)],
    "star": [_around(*(1.05, 0.42) * 5)],
    "bar": [_rectangle(1.0, 0.3)],
}
