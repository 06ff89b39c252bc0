"""How a value of any Arrow type is shown: as a number, text, chips, bars, a small plot, or compact JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

TEXT_LIMIT = 2000
"""Characters of one text that are shown."""
_ITEMS = 12
"""Chips of one list that are shown."""
_SPARK = 64
"""Points of a vector's plot."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A small label with its score."""

    text: str
    label: str = ""
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value ready for a template, which escapes it."""

    name: str
    """The column."""
    kind: str
    """none, number, score, text, chips, spark or json."""
    text: str = ""
    """The value in words; for chips, how many more there are; for a vector, its length."""
    label: str = ""
    """The value where it is a label, so that it gets its colour."""
    score: float | None = None
    """Between 0 and 1, where the value is a probability."""
    chips: Sequence[Chip] = ()
    points: str = ""
    """Of a polyline in a field of 64 × 20."""


def cells(row: Mapping[str, object], columns: Iterable[pa.Field]) -> list[Cell]:
    """A row's values in the order of ``columns``."""
    return [cell(column.name, column.type, row.get(column.name)) for column in columns]


def cell(name: str, type_: pa.DataType, value: object) -> Cell:
    """One value, by its Arrow type."""
    if value is None:
        return Cell(name=name, kind="none")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(name, type_, value)
    if isinstance(value, str):
        label = value if name in ("label", "status", "code") else ""
        return Cell(name=name, kind="text", text=clip(value, TEXT_LIMIT), label=label)
    if isinstance(value, list):
        return _list(name, type_, value)
    if isinstance(value, Mapping):
        return Cell(name=name, kind="json", text=clip(_json(value), TEXT_LIMIT))
    return Cell(name=name, kind="text", text=_words(value))


def _words(value: object) -> str:
    """A value of a type that has no drawing of its own."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return clip(str(value), TEXT_LIMIT)


def clip(text: str, limit: int) -> str:
    """At most ``limit`` characters, saying so where there were more."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def figure(value: float) -> str:
    """A number for people: four significant digits, thousands set apart."""
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3e}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{min(digits, 7)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(name: str, type_: pa.DataType, value: float) -> Cell:
    if name == "score" and pa.types.is_floating(type_) and 0 <= value <= 1:
        return Cell(name=name, kind="score", text=f"{value:.3f}", score=float(value))
    return Cell(name=name, kind="number", text=figure(value))


def _list(name: str, type_: pa.DataType, values: list[object]) -> Cell:
    if not values:
        return Cell(name=name, kind="none")
    inner = type_.value_type if pa.types.is_list(type_) or pa.types.is_large_list(type_) else pa.null()
    if pa.types.is_struct(inner):
        fields = {field.name for field in inner}
        if fields & {"label", "token", "text"}:
            return _chips(name, [_chip(one) for one in values if isinstance(one, dict)])
    if pa.types.is_string(inner):
        return _chips(name, [Chip(text=clip(str(one), 60)) for one in values])
    if pa.types.is_list(inner) and pa.types.is_struct(inner.value_type):
        best = [_chip(one[0]) for one in values if isinstance(one, list) and one and isinstance(one[0], dict)]
        return _chips(name, best)
    numbers = [float(one) for one in values if isinstance(one, int | float) and math.isfinite(one)]
    if len(numbers) == len(values) and len(numbers) > 4:
        return Cell(name=name, kind="spark", text=f"{len(values):,} numbers", points=_spark(numbers))
    return Cell(name=name, kind="json", text=clip(_json(values), 400))


def _chip(value: Mapping[str, object]) -> Chip:
    """A struct with a label or token, a text and a score, as one chip."""
    label, score = str(value.get("label") or ""), value.get("score")
    text = str(value.get("token") or value.get("text") or "")
    known = float(score) if isinstance(score, int | float) and math.isfinite(score) else None
    return Chip(text=clip(text, 60), label=label, score=known)


def _chips(name: str, chips: list[Chip]) -> Cell:
    more = f"and {len(chips) - _ITEMS:,} more" if len(chips) > _ITEMS else ""
    return Cell(name=name, kind="chips", chips=chips[:_ITEMS], text=more)


def _spark(numbers: Sequence[float]) -> str:
    """A polyline over at most 64 of the numbers."""
    step = max(1, len(numbers) // _SPARK)
    some = numbers[::step][:_SPARK]
    low, high = min(some), max(some)
    span = (high - low) or 1.0
    across = 64 / max(len(some) - 1, 1)
    return " ".join(f"{i * across:.1f},{19 - 18 * (one - low) / span:.1f}" for i, one in enumerate(some))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, separators=(", ", ": "))
