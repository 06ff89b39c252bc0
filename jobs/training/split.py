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
    judges: list[set[int]] = [set() for _ in tables.files]
    count = 0
    for name in drawn[:-1]:
        for number, row in groups[name]:
            judges[number].add(row)
        count += len(groups[name])
        if count >= share * tables.rows:
            break
    teaches = [set(range(file.rows)) - rows for file, rows in zip(tables.files, judges, strict=True)]
    teaching, judging = (replace(tables, only=tuple(map(frozenset, side))) for side in (teaches, judges))
    return teaching, judging


def _grouped(tables: Tables, group: str) -> dict[str, list[_Row]]:
    """Rows by the value that keeps them together."""
    found: dict[str, list[_Row]] = defaultdict(list)
    for number, file in enumerate(tables.files):
        values = values_of(file, group, Limits()) if group else [(file.doc_id, row) for row in range(file.rows)]
        for row, value in enumerate(values):
            if value is None:
                raise UsageError(
                    f"train.eval_group: row {row} of {file.uri} has nothing in a column {group!r}: name one that says "
                    "which rows belong together, and give every row a value there",
                )
            found[repr(value)].append((number, row))
    return found
