"""Videos of a shape that moves: what it does can be told from no single frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.bench.made.shapes import COLOURS, GROUNDS, drawn

MOTIONS = {
    "left": (-1.0, 0.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "grows": (0.0, 0.0, 1.0),
    "shrinks": (0.0, 0.0, -1.0),
}
"""Which way the shape goes, and whether it grows."""
RATE = 8
"""Frames a second."""


def frames(
    motion: str, random: np.random.Generator, *, count: int, side: int, shape: str = "circle", colour: str = "red"
) -> NDArray[np.uint8]:
    """(count, side, side, 3): a shape on any ground; path, speed and size by chance."""
    ground = str(random.choice(list(GROUNDS)))
    across, down, grows = MOTIONS[motion]
    way, growth = random.uniform(0.3, 0.5) * side, grows * random.uniform(0.14, 0.2) * side
    middle = random.uniform(0.35, 0.65, 2) * side
    radius = random.uniform(0.16, 0.24) * side
    turn = random.uniform(-0.3, 0.3)
    shown = []
    for part in np.linspace(-0.5, 0.5, count):
        centre = middle[0] + part * way * across, middle[1] + part * way * down
        mask = drawn(shape, side=side, radius=max(radius + part * growth, 2), centre=centre, turn=turn)
        image = Image.new("RGB", (side, side), GROUNDS[ground])
        image.paste(COLOURS[colour], (0, 0), mask)
        shown.append(np.asarray(image))
    grain = random.normal(0, 6, (count, side, side, 1))
    return (np.stack(shown) + grain).clip(0, 255).astype(np.uint8)


def write_video(file: Path, shown: NDArray[np.uint8], *, rate: int = RATE) -> Path:
    """Frames (count, height, width, 3) as an H.264 file."""
    import av

    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = shown.shape[1], shown.shape[2], "yuv420p"
        stream.thread_count = 1  # with more, the same frames give another file each time
        for each in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        container.mux(stream.encode(None))
    return file
