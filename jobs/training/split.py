"""Training rows in two: those that teach, and a share that judges, chosen by what the rows hold and nothing else."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace

from jobs.training.encode import Tables
from stages.errors import UsageError
from stages.settings import Limits
from stages.tables import values_of

_Row = tuple[int, int]
"""A row by its file's and its own number."""


def split(tables: Tables, share: float, group: str) -> tuple[Tables, Tables]:
    """The rows that teach and those that judge, which are at least ``share`` of all, as far as groups allow.

    Rows with one value in the column ``group`` stay together; without a group each row stands for itself. Which ones
    judge is drawn by a hash: the same data are always cut alike, wherever they lie. Raises UsageError where a row has
    no value in that column, or all have the same.
    """
    groups = _grouped(tables, group)
    if len(groups) < 2:
        what = f"all have the same value in the column {group!r}" if group else "there is but one"
        raise UsageError(f"train.eval_share: the training rows cannot be divided: {what}")
    drawn = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    judges: set[_Row] = set()
    for name in drawn[:-1]:
        judges.update(groups[name])
        if len(judges) >= share * tables.rows:
            break
    teaches = {row for rows in groups.values() for row in rows} - judges
    return _side(tables, teaches), _side(tables, judges)


def _grouped(tables: Tables, group: str) -> dict[str, list[_Row]]:
    """Rows by the value that keeps them together."""
    found: dict[str, list[_Row]] = defaultdict(list)
    for number, file in enumerate(tables.files):
        if not group:
            found |= {f"{file.doc_id} {row}": [(number, row)] for row in range(file.rows)}
            continue
        for row, value in enumerate(values_of(file, group, Limits())):
            if value is None:
                raise UsageError(
                    f"train.eval_group: row {row} of {file.uri} has nothing in a column {group!r}: name one that says "
                    "which rows belong together, and give every row a value there",
                )
            found[repr(value)].append((number, row))
    return found


def _side(tables: Tables, rows: set[_Row]) -> Tables:
    only = tuple(frozenset(row for at, row in rows if at == number) for number in range(len(tables.files)))
    return replace(tables, only=only)
