"""Tables of numbers as pictures for MLflow. The only module that draws with matplotlib; the driver alone imports it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from pipelines.tasks.breakdown import Breakdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMES = 60
"""Names on a side beyond which nobody could read the picture."""


def picture(table: Breakdown) -> bytes | None:
    """The table as a PNG, its cells shaded; None where it has too many names to be read."""
    from matplotlib.figure import Figure  # without pyplot: no state, no display

    if max(len(table.rows), len(table.columns)) > MOST_NAMES or not table.rows:
        return None
    longest = max(len(name) for name in (*table.rows, *table.columns))
    width, height = 1.5 + 0.75 * len(table.columns) + 0.08 * longest, 1.2 + 0.35 * len(table.rows) + 0.05 * longest
    figure = Figure(figsize=(max(width, 4.0), height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(table.title, fontsize=9)
    _draw(axes, table)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _draw(axes: Axes, table: Breakdown) -> None:
    shades = [[0.0 if shade is None else shade for shade in row] for row in table.shades]
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(table.columns)), table.columns, fontsize=8, rotation=45, ha="right")
    axes.set_yticks(range(len(table.rows)), table.rows, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for y, row in enumerate(table.values):
        for x, value in enumerate(row):
            dark = shades[y][x] > 0.6
            text = f"{value:.0f}" if value == int(value) and table.shades[y][x] is None else f"{value:.3g}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
