"""Files as strangers send them: small ones that would become huge, and ones that hold nothing."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile


@cache
def bomb(side: int) -> bytes:
    """A PNG of side × side black pixels, one bit each, that is small as a file."""
    rows = zlib.compressobj(9)
    line = bytes(1 + side // 8)
    data = b"".join(rows.compress(line) for _ in range(side)) + rows.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def hour(path: Path, rate: int = 8000) -> Path:
    """A WAV of an hour that takes next to no room on the disk: all but its head is a hole."""
    soundfile.write(path, np.zeros((16, 1)), rate, subtype="PCM_U8")
    size = 3600 * rate
    head = bytearray(path.read_bytes()[:44])
    head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(44 + size)
    return path


def no_frames(path: Path) -> Path:
    """A video whose header promises frames that never come."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 48, 32
        container.start_encoding()
    return path
