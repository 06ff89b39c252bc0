"""The geometry of the report's plots; the templates draw them as SVG, in percent, so that they fit any width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.report.cells import figure

_BINS = 48
_PAGES = 4
"""Pages a bin on average: fewer show the clock's chance rather than the speed."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a list."""

    name: str
    text: str
    """The value for people."""
    width: float
    """Percent of the longest."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark of an axis."""

    at: float
    """Percent from the left, or from the top."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A rate over time in a field of 100 × 100, y downwards."""

    line: str
    """Points of a polyline."""
    area: str
    """The same, closed along the bottom."""
    across: Sequence[Tick]
    up: Sequence[Tick]
    errors: Sequence[Tick]
    """When error rows came, at most one a bin."""
    hover: Sequence[tuple[float, float, str]]
    """x and y of each point and what to say there."""
    summary: str


def bars(values: Mapping[str, float], *, unit: str = "", limit: int = 12) -> list[Bar]:
    """The largest values first; what is beyond ``limit`` is one bar."""
    ordered = sorted(((name, value) for name, value in values.items() if value > 0), key=lambda one: -one[1])
    shown, rest = ordered[:limit], ordered[limit:]
    if rest:
        shown.append((f"{len(rest)} more", sum(value for _, value in rest)))
    longest = max((value for _, value in shown), default=1.0)
    return [Bar(name=name, text=figure(value) + unit, width=round(100 * value / longest, 2)) for name, value in shown]


def columns(counts: Sequence[float]) -> list[tuple[float, float, float, str]]:
    """A histogram over 0 to 1 as (x, y, height, what to say) in a field of 100 × 100."""
    most = max(counts, default=0.0) or 1.0
    step = 100 / max(len(counts), 1)
    found = []
    for i, count in enumerate(counts):
        height = 100 * count / most
        said = f"{i * step / 100:.2f}–{(i + 1) * step / 100:.2f}: {figure(int(count))}"
        found.append((round(i * step, 3), round(100 - height, 3), round(height, 3), said))
    return found


def timeline(samples: Sequence[Sequence[float]], noun: str = "pages") -> Timeline | None:
    """Pages a second over a run's samples ``[seconds, pages done, error rows]``; None where there are too few."""
    rows = sorted(tuple(one[:3]) for one in samples if len(one) >= 3 and all(math.isfinite(x) for x in one[:3]))
    if len(rows) < 3 or rows[-1][0] <= rows[0][0]:
        return None
    seconds, pages, errors = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    bins = min(max(6, int(pages[-1] - pages[0]) // _PAGES), _BINS, len(rows) - 1)
    edges = np.linspace(seconds[0], seconds[-1], bins + 1)
    rates = np.maximum(np.diff(np.interp(edges, seconds, pages)), 0) / np.diff(edges)
    failed = np.diff(np.interp(edges, seconds, errors))
    top, up = _axis(float(rates.max()))
    middle = (edges[:-1] + edges[1:]) / 2
    x = 100 * (middle - edges[0]) / (edges[-1] - edges[0])
    y = 100 * (1 - rates / top)
    ends = ([0.0, *x, 100.0], [y[0], *y, y[-1]])
    line = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(*ends, strict=True))
    points = zip(x, y, middle, rates, strict=True)
    return Timeline(
        line=line,
        area=f"0,100 {line} 100,100",
        across=[Tick(at=25.0 * i, text=duration(edges[0] + (edges[-1] - edges[0]) * i / 4)) for i in range(5)],
        up=up,
        errors=[Tick(at=round(float(a), 2), text=figure(round(n))) for a, n in zip(x, failed, strict=True) if n >= 0.5],
        hover=[
            (round(float(a), 2), round(float(b), 2), f"{duration(t)}: {figure(float(r))} {noun}/s")
            for a, b, t, r in points
        ],
        summary=f"{noun} a second over {duration(edges[-1])}; at most {figure(float(rates.max()))}",
    )


def duration(seconds: float) -> str:
    """Seconds for people: 0.42 s, 12.3 s, 2 min 14 s, 3 h 5 min."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds % 1 else f"{seconds:.0f} s"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:,.0f} h {seconds % 3600 // 60:.0f} min"


def _axis(highest: float) -> tuple[float, list[Tick]]:
    """A round top for the axis, and its ticks."""
    if highest <= 0:
        return 1.0, [Tick(at=100.0, text="0")]
    power = 10 ** math.floor(math.log10(highest))
    step = next(one * power / 4 for one in (1, 2, 4, 6, 8, 10) if one * power >= highest)
    return 4 * step, [Tick(at=100.0 - 25 * i, text=figure(step * i)) for i in range(5)]
