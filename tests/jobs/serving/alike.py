"""Whether two answers are the same, as far as batches may differ."""

from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
from PIL import Image

PNG = base64.b64encode(b"\x89PNG\r\n").decode()
OWN = {"source", "run_id", "at"}
"""Columns that say who asked, and when."""


def same(ours: object, theirs: object, where: str) -> None:
    """Numbers within 1e-5, the levels of a PNG within one, all else exactly."""
    if isinstance(theirs, str) and theirs.startswith(PNG):
        levels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))), np.int64) for png in (ours, theirs)]
        assert levels[0].shape == levels[1].shape, where
        assert np.abs(levels[0] - levels[1]).max() <= 1, where
    elif isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for name, value in theirs.items():
            same(ours[name], value, f"{where}.{name}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{n}]")
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-5), f"{where}: {ours} is not {theirs}"
    else:
        assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"


def plain(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    told = [{name: row[name] for name in row if name not in OWN} for row in rows]
    return json.loads(json.dumps(told, default=lambda binary: base64.b64encode(binary).decode()))
