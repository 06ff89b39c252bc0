"""Small images, recordings and videos, each another for another number; rows that hold them, as tables and requests
have them."""

from __future__ import annotations

import io
import random

import av
import numpy as np
import soundfile
from PIL import Image

from pipelines import Task
from pipelines.contract.rows import sound
from stages.base import Row
from stages.columns import FOUND_AS, SENSED


def image(number: int) -> bytes:
    """A PNG of 4 × 4 coloured fields."""
    fields = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    told = io.BytesIO()
    Image.fromarray(fields).resize((40 + number, 36), Image.Resampling.NEAREST).save(told, "PNG")
    return told.getvalue()


def recording(number: int) -> bytes:
    """A WAV of some tones, 0.1 to 0.6 s."""
    row = sound(random.Random(0), number)
    told = io.BytesIO()
    soundfile.write(told, np.frombuffer(row["samples"], np.float32), row["rate"], format="WAV", subtype="FLOAT")
    return told.getvalue()


def video(number: int) -> bytes:
    """An MP4 of 12 frames in which coloured fields change."""
    told = io.BytesIO()
    fields = np.random.default_rng(number).integers(0, 256, (12, 3, 4, 3), np.uint8)
    with av.open(told, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in fields.repeat(16, axis=1).repeat(16, axis=2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return told.getvalue()


FILES = {"image": image, "query_image": image, "audio": recording, "video": video}
"""Files for columns of tables."""


def table_rows(task: type[Task], rows: list[Row]) -> list[Row]:
    """Sample rows as a table has them: with files where they have pixels or samples, columns as tables call them."""
    names = dict.fromkeys(name for row in rows for name in row if name in (*task.reads, *task.optional))
    made = []
    for number, row in enumerate(rows):
        values: Row = {"uri": f"row {number}"}
        for name in names:
            if name in SENSED:
                value: object = FILES[SENSED[name]](number + 20 * (name != "picture")) if name in row else None
                values[SENSED[name]] = value
            else:
                values[FOUND_AS.get(name, name)] = row.get(name)
        made.append(values)
    return made
