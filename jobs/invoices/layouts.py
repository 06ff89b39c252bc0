"""Where things stand: layouts that training sees, and others that only testing sees.

Training pages are drawn at random within the plans of TRAIN_LAYOUTS. The four of TEST_LAYOUTS arrange the same
parts as no training page does: a column down the side (``sidebar``), sums above the table (``statement``), framed
quarters with the sums at the foot of the page (``grid``), the table between buyer and seller (``letterfoot``).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from jobs.invoices import blocks
from jobs.invoices.blocks import Style
from jobs.invoices.facts import Facts
from jobs.invoices.sheet import TYPEFACES, Anchor, Sheet

Layout: TypeAlias = Callable[[Sheet, Random, Facts], None]

_PAPER = ((595.0, 842.0), (612.0, 792.0))
_STACKS: tuple[Style, ...] = ("inline", "columns", "justified", "above")


def new_sheet(rng: Random) -> Sheet:
    """An empty page: A4 or Letter, one of three typefaces, 8 to 11 points."""
    (width, height), (regular, bold) = rng.choice(_PAPER), rng.choice(TYPEFACES)
    size = rng.uniform(8.0, 9.5) if regular == "Courier" else rng.uniform(8.5, 11.0)
    return Sheet(width=width, height=height, regular=regular, bold=bold, size=size)


# ---- plans that training sees


def header_above(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """Seller left and fields right, then the buyer, the table and the sums at the right edge."""
    left, right, middle = _edges(sheet, rng)
    top = rng.uniform(45, 90)
    y = blocks.vendor(sheet, rng, facts, left, top)
    at = blocks.title(sheet, rng, middle, top) if rng.random() < 0.7 else top
    after = _stack(sheet, rng, facts, middle, at, right - middle)
    y = _parties(sheet, rng, facts, max(y, after) + rng.uniform(10, 40))
    _lower_half(sheet, rng, facts, y)


def mirrored(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """Fields left and the seller at the right edge; below, the buyer left."""
    left, right, middle = _edges(sheet, rng)
    top = rng.uniform(45, 90)
    y = (
        blocks.vendor(sheet, rng, facts, right, top, "right")
        if rng.random() < 0.6
        else blocks.vendor(sheet, rng, facts, middle, top)
    )
    at = blocks.title(sheet, rng, left, top) if rng.random() < 0.7 else top
    after = _stack(sheet, rng, facts, left, at, rng.uniform(180, 230))
    y = _parties(sheet, rng, facts, max(y, after) + rng.uniform(10, 40))
    _lower_half(sheet, rng, facts, y)


def stacked(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """Everything one below the other at the left edge."""
    left, _, _ = _edges(sheet, rng)
    y = blocks.vendor(sheet, rng, facts, left, rng.uniform(45, 80)) + rng.uniform(5, 25)
    if rng.random() < 0.6:
        y = blocks.title(sheet, rng, left, y)
    parts: list[Callable[[float], float]] = [
        lambda at: blocks.buyer(sheet, rng, facts, left, at),
        lambda at: _stack(sheet, rng, facts, left, at, rng.uniform(190, 260)),
    ]
    for part in rng.sample(parts, 2):
        y = part(y) + rng.uniform(8, 25)
    _lower_half(sheet, rng, facts, y)


def centred(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """The seller centred, then the buyer beside the fields, either way round."""
    left, right, middle = _edges(sheet, rng)
    y = blocks.vendor(sheet, rng, facts, sheet.width / 2, rng.uniform(45, 80), "centre") + rng.uniform(5, 20)
    if rng.random() < 0.6:
        y = blocks.title(sheet, rng, sheet.width / 2, y, "centre")
    if rng.random() < 0.5:
        ends = blocks.buyer(sheet, rng, facts, left, y), _stack(sheet, rng, facts, middle, y, right - middle)
    else:
        ends = _stack(sheet, rng, facts, left, y, rng.uniform(180, 220)), blocks.buyer(sheet, rng, facts, middle, y)
    _lower_half(sheet, rng, facts, max(ends) + rng.uniform(8, 30))


def tabular(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """Fields as a row of captions above a row of values, or strung together, under the parties."""
    left, right, _ = _edges(sheet, rng)
    top = rng.uniform(45, 90)
    blocks.title(sheet, rng, right, top, "right")
    y = blocks.vendor(sheet, rng, facts, left, top) + rng.uniform(5, 25)
    y = _parties(sheet, rng, facts, y) + rng.uniform(0, 15)
    style: Style = rng.choice(("row", "row", "row", "sentence"))
    y = blocks.fields(sheet, rng, blocks.facts_fields(rng, facts), left, y, width=right - left, style=style)
    _lower_half(sheet, rng, facts, y + rng.uniform(5, 20))


def loose(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """Everything above the table in any order, one or two parts beside each other."""
    _lower_half(sheet, rng, facts, _upper_half(sheet, rng, facts, rng.uniform(40, 90)))


def inverted(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """The table and its sums at the top of the page, everything else in any order below them."""
    _upper_half(
        sheet, rng, facts, _lower_half(sheet, rng, facts, rng.uniform(40, 90), foot=False) + rng.uniform(10, 50)
    )


def _upper_half(sheet: Sheet, rng: Random, facts: Facts, y: float) -> float:
    """Parties, fields and title in any order, one or two beside each other."""
    left, right, middle = _edges(sheet, rng)
    axis = sheet.width / 2

    def vendor(x: float, y: float) -> float:
        anchor: Anchor = "centre" if x == axis else "left"
        return blocks.vendor(sheet, rng, facts, x, y, anchor, room=right - x)

    parts: list[Callable[[float, float], float]] = [
        vendor,
        lambda x, y: blocks.buyer(sheet, rng, facts, x, y),
        lambda x, y: _stack(sheet, rng, facts, x, y, rng.uniform(170, 220)),
        lambda x, y: blocks.title(sheet, rng, x, y),
    ]
    if rng.random() < 0.5:
        parts.append(lambda x, y: blocks.ship_to(sheet, rng, facts, x, y))
    rng.shuffle(parts)
    while parts:
        places = rng.choice(((left,), (middle,), (axis,), (left, middle), (left, middle), (left, middle)))
        y = max(part(x, y) for part, x in zip(parts, places, strict=False)) + rng.uniform(5, 30)
        parts = parts[len(places) :]
    return y


def _edges(sheet: Sheet, rng: Random) -> tuple[float, float, float]:
    """Left edge, right edge, and where a right-hand column starts."""
    return rng.uniform(35, 75), sheet.width - rng.uniform(35, 75), sheet.width * rng.uniform(0.45, 0.66)


def _stack(sheet: Sheet, rng: Random, facts: Facts, x: float, y: float, width: float) -> float:
    return blocks.fields(sheet, rng, blocks.facts_fields(rng, facts), x, y, width=width, style=rng.choice(_STACKS))


def _parties(sheet: Sheet, rng: Random, facts: Facts, y: float) -> float:
    """The buyer, and at times where the goods go, side by side in either order."""
    left, _, middle = _edges(sheet, rng)
    if rng.random() < 0.5:
        return blocks.buyer(sheet, rng, facts, rng.choice((left, left, middle)), y)
    places = rng.sample((left, middle), 2)
    return max(blocks.buyer(sheet, rng, facts, places[0], y), blocks.ship_to(sheet, rng, facts, places[1], y))


def _lower_half(sheet: Sheet, rng: Random, facts: Facts, y: float, *, foot: bool = True) -> float:
    """Table, then sums right, left or across, then the footer."""
    left, right, middle = _edges(sheet, rng)
    y = blocks.table(sheet, rng, facts, left, y + rng.uniform(5, 30), right - left)
    sums, choice = blocks.sums(rng, facts), rng.random()
    if choice < 0.55:
        y = blocks.fields(sheet, rng, sums, middle, y, width=right - middle, style=rng.choice(("justified", "columns")))
    elif choice < 0.8:
        y = blocks.fields(sheet, rng, sums, left, y, width=rng.uniform(180, 240), style=rng.choice(_STACKS))
    else:
        y = blocks.fields(sheet, rng, sums, left, y, width=right - left, style=rng.choice(("row", "sentence")))
    if foot and rng.random() < 0.7:
        blocks.footer(sheet, rng, facts, left, min(y + rng.uniform(10, 90), sheet.height - 60))
    return y


# ---- plans that only testing sees


def sidebar(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """A narrow column down the left holds title, fields, bank and seller; buyer, table and sums stand beside it."""
    edge = 205.0
    y = blocks.title(sheet, rng, 36, 70)
    y = blocks.fields(sheet, rng, blocks.facts_fields(rng, facts), 36, y, width=150, style="above") + 20
    y = blocks.footer(sheet, rng, facts, 36, y) + 20
    blocks.vendor(sheet, rng, facts, 36, y, room=edge - 50)
    sheet.rule(edge - 8, 40, edge - 8, sheet.height - 40)
    right = sheet.width - 36
    y = blocks.buyer(sheet, rng, facts, edge, 90) + 30
    y = blocks.table(sheet, rng, facts, edge, y, right - edge)
    blocks.fields(sheet, rng, blocks.sums(rng, facts), edge + 120, y, width=right - edge - 120, style="justified")


def statement(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """The sums stand at the top, before the table; the fields run across the page between the two."""
    left, right = 48.0, sheet.width - 48
    top = blocks.vendor(sheet, rng, facts, left, 60)
    y = blocks.fields(sheet, rng, blocks.sums(rng, facts), 340, 60, width=right - 340, style="justified")
    y = blocks.buyer(sheet, rng, facts, left, max(y, top) + 25) + 15
    y = blocks.fields(sheet, rng, blocks.facts_fields(rng, facts), left, y, width=right - left, style="row") + 10
    y = blocks.title(sheet, rng, left, y + 10)
    y = blocks.table(sheet, rng, facts, left, y, right - left)
    blocks.footer(sheet, rng, facts, right, y + 30, "right")


def grid(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """Framed quarters: buyer and seller above, fields and delivery below; the sums run across the foot."""
    left, right, middle = 40.0, sheet.width - 40, sheet.width / 2
    blocks.title(sheet, rng, middle, 60, "centre")
    upper = max(
        blocks.buyer(sheet, rng, facts, left + 8, 95),
        blocks.vendor(sheet, rng, facts, middle + 8, 95, room=right - middle - 16),
    )
    delivery = blocks.ship_to(sheet, rng, facts, left + 8, upper + 20)
    style: Style = rng.choice(("columns", "inline"))
    meta = blocks.fields(
        sheet, rng, blocks.facts_fields(rng, facts), middle + 8, upper + 20, width=right - middle - 16, style=style
    )
    lower = max(delivery, meta)
    for x0, x1 in ((left, middle), (middle, right)):
        sheet.frame(x0, 80, x1, upper)
        sheet.frame(x0, upper, x1, lower)
    blocks.table(sheet, rng, facts, left, lower + 30, right - left)
    blocks.fields(sheet, rng, blocks.sums(rng, facts), left, sheet.height - 70, width=right - left, style="row")


def letterfoot(sheet: Sheet, rng: Random, facts: Facts) -> None:
    """A business letter: the buyer first, for a window envelope, a line of references, the seller below everything."""
    left, right = 60.0, sheet.width - 60
    y = blocks.buyer(sheet, rng, facts, left, 80) + 45
    y = blocks.fields(sheet, rng, blocks.facts_fields(rng, facts), left, y, width=right - left, style="row")
    y = blocks.title(sheet, rng, left, y + 20)
    y = blocks.table(sheet, rng, facts, left, y, right - left)
    blocks.fields(sheet, rng, blocks.sums(rng, facts), left, y, width=210, style="columns")
    sheet.rule(left, sheet.height - 100, right, sheet.height - 100)
    blocks.vendor(sheet, rng, facts, sheet.width / 2, sheet.height - 85, "centre")


# A plan that stands twice is drawn twice as often.
TRAIN_LAYOUTS: tuple[Layout, ...] = (
    header_above,
    mirrored,
    stacked,
    centred,
    tabular,
    tabular,
    loose,
    inverted,
    inverted,
)
TEST_LAYOUTS: tuple[Layout, ...] = (sidebar, statement, grid, letterfoot)
