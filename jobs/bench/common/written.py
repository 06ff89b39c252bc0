"""BENCHMARKS.md: one section a bench, each written whole by its command."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.bench.common.report import Report

HEAD = """\
# Benchmarks

Each section is written by the command in it (`manta bench NAME --write BENCHMARKS.md`), never by hand. Peers run in
the same call, on the same inputs, in turn with ours; figures are medians. Take them on an idle machine: the load that
others made before the bench stands in the section.
"""


def write_section(file: Path, report: Report) -> None:
    """Puts the report into the file in place of the same bench's older one, or in order of name."""
    text = file.read_text("utf-8") if file.exists() else HEAD
    sections = _sections(text)
    sections[report.section] = report.to_text().strip()
    head = _BEGIN.split(text, maxsplit=1)[0].strip()
    parts = [f"<!-- bench: {name} -->\n{sections[name]}\n<!-- end -->" for name in sorted(sections)]
    file.write_text("\n\n".join([head, *parts]) + "\n", "utf-8")


_BEGIN = re.compile(r"<!-- bench: [^\n]* -->")
_SECTION = re.compile(r"<!-- bench: (?P<name>[^\n]*) -->\n(?P<text>.*?)\n<!-- end -->", re.DOTALL)


def _sections(text: str) -> dict[str, str]:
    return {found["name"]: found["text"] for found in _SECTION.finditer(text)}
