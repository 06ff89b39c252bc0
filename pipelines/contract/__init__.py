"""What every family promises, checked: for families of this project, and for those of other packages.

    from pipelines.contract import check_family

    def test_contract() -> None:
        check_family("NAME")

runs every task of the family on its ``tiny`` checkpoint. Needs neither a network nor Ray.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pipelines
from pipelines.contract import training
from pipelines.contract.case import Case
from pipelines.contract.checks import CHECKS, Reference, answers_are, family_tells, task_tells

__all__ = ["Case", "Reference", "check_family"]


def check_family(name: str, *, references: Mapping[str, Reference] | None = None) -> None:
    """Checks the family of that name, all of its tasks.

    ``references`` give the right answers by a task's name: a function of the tiny checkpoint's folder and of rows, with
    transformers by hand. Raises AssertionError that names the task and what it breaks.
    """
    family_tells(name)
    found = pipelines.family(name)
    with tempfile.TemporaryDirectory(prefix="manta-check-") as scratch:
        for kind in found.tasks:
            folder = Path(scratch, kind.name)
            folder.mkdir()
            found.tiny(folder, kind.name)
            case = Case(family=name, kind=kind, folder=folder)
            task_tells(kind)
            reference = (references or {}).get(kind.name)
            if reference is not None:
                answers_are(case, reference)
            for check in (*CHECKS, *(training.CHECKS if kind.metric is not None else ())):
                check(case)
