"""Reading golden numbers of other implementations, and comparing with them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDENS = Path(__file__).parent.parent / "goldens"


def zipped(path: Path) -> Any:
    """What a compressed JSON file holds."""
    return json.loads(gzip.decompress(path.read_bytes()))


def arrays(path: Path, make: Callable[[Any], Any] = lambda array: array) -> dict[str, Any]:
    """The arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as found:
        return {name: make(found[name]) for name in found.files}


def close(ours: object, theirs: Any, tolerance: float = 5e-5) -> None:
    """Numbers within the tolerance that the goldens' README suggests."""
    array = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    assert array.shape == np.shape(theirs)
    assert np.allclose(array, theirs, rtol=tolerance, atol=tolerance), np.abs(array - theirs).max()
