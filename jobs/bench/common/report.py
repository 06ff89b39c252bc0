"""A bench's report: tables, and the figures that were asked for with their marks; as text, JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from jobs.bench.common.machine import Machine, machine

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures side by side."""

    title: str
    columns: tuple[str, ...]
    """Names with their units."""
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True, kw_only=True)
class Check:
    """A figure and the mark that it should reach."""

    what: str
    figure: float
    mark: float
    at_least: bool = True
    """Whether the figure should be the mark or more; else the mark or less."""
    unit: str = "×"

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.figure >= self.mark if self.at_least else self.figure <= self.mark


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one call of a bench found."""

    bench: str
    title: str
    """What is measured, in one line."""
    command: str
    """Measures it again."""
    tables: tuple[Table, ...]
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know to believe the figures: inputs with their hash, sizes, how a figure is taken."""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Machine = field(default_factory=machine)
    at: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

    @property
    def section(self) -> str:
        """Its place in BENCHMARKS.md: one a bench, and one more a kind of GPU."""
        return f"{self.bench} on {self.machine.gpu}" if self.machine.gpu else self.bench

    def to_json(self) -> str:
        """The report as indented JSON."""
        checks = [{**asdict(check), "met": check.met} for check in self.checks]
        return json.dumps({**asdict(self), "checks": checks}, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """The report as Markdown, its tables aligned: for a terminal and for BENCHMARKS.md."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        head = [f"## {self.section}: {self.title}", "", f"`{self.command}` · {self.at} · {self.machine.line}"]
        parts = ["\n".join([*head, "", versions] if versions else head)]
        parts += [_markdown(table) for table in self.tables]
        if self.checks:
            parts.append(_markdown(_checks(self.checks)))
        parts += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join(parts)


def _checks(checks: Sequence[Check]) -> Table:
    rows = []
    for check in checks:
        sign = "≥" if check.at_least else "≤"
        rows.append(
            (
                check.what,
                f"{shown(check.figure)} {check.unit}".strip(),
                f"{sign} {shown(check.mark)} {check.unit}".strip(),
                "yes" if check.met else "no",
            )
        )
    return Table(title="Marks", columns=("figure", "measured", "asked for", "met"), rows=tuple(rows))


def shown(cell: Cell) -> str:
    """A cell as it is printed: numbers with three figures, thousands apart."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.3g}" if abs(cell) < 100 else f"{cell:.0f}"


def _markdown(table: Table) -> str:
    lines = [list(table.columns), *([shown(cell) for cell in row] for row in table.rows)]
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    numeric = [_all_numbers([row[i] for row in table.rows]) for i in range(len(table.columns))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    ruler = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    padded = [
        [text.rjust(width) if right else text.ljust(width) for text, width, right in zip(*row, strict=True)]
        for row in ((line, widths, numeric) for line in (lines[0], ruler, *lines[1:]))
    ]
    return "\n".join([f"**{table.title}**", "", *("| " + " | ".join(line) + " |" for line in padded)])


def _all_numbers(cells: Sequence[Cell]) -> bool:
    return all(cell is None or isinstance(cell, int | float) for cell in cells)
