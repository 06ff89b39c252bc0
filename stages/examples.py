"""What travels between the two halves of Predictor: one ``Example`` a window, packed flat and small.

A row becomes 1..n examples of variable length. Each named array's first axis is the length; all examples of a task
have the same names and dtypes. ``pack`` joins a row's arrays end to end (``ids list<int32>``, ``boxes list<int16>``)
with one ``lengths`` list a name; masks and padded tensors are built in ``Task.collate`` (measured: padded int64
tensors are 8 × larger and 25 × slower to pass on between operators). An array that all examples of a row share, such as
the page's pixels, is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Example:
    """One forward unit: a window of a page, a text, a pair, an image."""

    arrays: Mapping[str, NDArray[np.generic]]
    """Flat or (length, k) arrays, unpadded, in the smallest dtype that holds them."""
    length: int
    """What padding goes by: tokens, samples or frames."""
    extra: int = 0
    """Tokens that every example adds whatever its length (49 visual ones for LayoutLMv2); counts in the budget."""
    group: int = 0
    """Examples are batched only with others of their group, where numbers depend on the shape (0: with all)."""


Output = Mapping[str, NDArray[np.generic]]
"""What the model says of one example: arrays on the CPU, float32 where they are scores, unpadded."""


ENCODED = pa.struct(
    [
        ("names", pa.list_(pa.string())),
        ("dtypes", pa.list_(pa.string())),
        ("widths", pa.list_(pa.int32())),
        ("bytes", pa.list_(pa.binary())),
        ("lengths", pa.list_(pa.list_(pa.int32()))),
        ("sizes", pa.list_(pa.int32())),
        ("extras", pa.list_(pa.int32())),
        ("groups", pa.list_(pa.int32())),
    ],
)
"""The Arrow type of the ``encoded`` column: per name its bytes; per example its sizes."""


class Packed(TypedDict):
    """One value of the ``encoded`` column."""

    names: list[str]
    dtypes: list[str]
    widths: list[int]
    bytes: list[bytes]
    lengths: list[list[int]]
    sizes: list[int]
    extras: list[int]
    groups: list[int]


def pack(examples: Sequence[Example]) -> Packed:
    """A row's examples as one value of the ``encoded`` column."""
    names = list(examples[0].arrays) if examples else []
    columns = {name: [np.ascontiguousarray(part) for part in _parts(examples, name)] for name in names}
    return {
        "names": names,
        "dtypes": [columns[name][0].dtype.str for name in names],
        "widths": [columns[name][0].shape[1] if columns[name][0].ndim == 2 else 0 for name in names],
        "bytes": [b"".join(part.tobytes() for part in columns[name]) for name in names],
        "lengths": [[len(part) for part in columns[name]] for name in names],
        "sizes": [one.length for one in examples],
        "extras": [one.extra for one in examples],
        "groups": [one.group for one in examples],
    }


def unpack(value: Packed) -> list[Example]:
    """The examples that ``pack`` joined."""
    arrays: dict[str, list[NDArray[np.generic]]] = {}
    columns = zip(value["names"], value["dtypes"], value["widths"], value["bytes"], value["lengths"], strict=True)
    for name, dtype, width, data, lengths in columns:
        flat = np.frombuffer(data, dtype=dtype)
        whole = flat.reshape(-1, width) if width else flat
        parts = [whole[end - n : end] for n, end in zip(lengths, np.cumsum(lengths), strict=True)]
        arrays[name] = parts if len(parts) == len(value["sizes"]) else parts * len(value["sizes"])
    per_example = zip(value["sizes"], value["extras"], value["groups"], strict=True)
    return [
        Example(arrays={name: parts[i] for name, parts in arrays.items()}, length=size, extra=extra, group=group)
        for i, (size, extra, group) in enumerate(per_example)
    ]


def _parts(examples: Sequence[Example], name: str) -> list[NDArray[np.generic]]:
    """The examples' arrays of that name; one, where all share it."""
    parts = [one.arrays[name] for one in examples]
    return parts[:1] if all(part is parts[0] for part in parts) else parts
