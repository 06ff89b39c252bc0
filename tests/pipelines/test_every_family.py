"""One contract over every task of every family: a new family is tested by being there.

The contract is pipelines/contract, which other packages' families are checked by as well. Rows are made from what a
task reads; what is right comes from transformers by hand (references_*.py, by task name, or family/task where a
family's task is its own).
"""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import Task, families, family
from pipelines.contract import Case, training
from pipelines.contract.checks import CHECKS, Reference, answers_are, family_tells, task_tells

TASKS = [pytest.param(name, task, id=f"{name}/{task.name}") for name in families() for task in family(name).tasks]
TRAINABLE = [each for each in TASKS if each.values[1].metric is not None]


@pytest.fixture(autouse=True)
def every_layer_laid_out(monkeypatch):
    """As those of large checkpoints are on a CPU: the tiny ones' are below what is worth it."""
    monkeypatch.setattr("stages.linear.LEAST", 0)


@pytest.fixture
def case(tiny, family_name: str, task_type: type[Task]) -> Case:
    """The task on its tiny checkpoint."""
    return Case(family=family_name, kind=task_type, folder=tiny(family_name, task_type.name))


@functools.cache
def references() -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for path in sorted(Path(__file__).parent.glob("references_*.py")):
        found |= importlib.import_module(path.stem).REFERENCES
    return found


def test_the_registry_loads_no_engine():
    code = (
        "import sys, pipelines; [pipelines.family(name) for name in pipelines.families()]; "
        "print(*({'torch', 'transformers', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("name", families())
def test_a_family_says_what_it_is(name):
    family_tells(name)


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_a_task_says_what_it_is(family_name, task_type):
    task_tells(task_type)


@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_answers_are_those_of_transformers(case, family_name, task_type):
    reference = references().get(f"{family_name}/{task_type.name}") or references().get(task_type.name)
    assert reference is not None, f"write a reference for {case} into a references_*.py"
    answers_are(case, reference)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("family_name", "task_type"), TASKS)
def test_a_task_keeps_the_contract(case, family_name, task_type, check):
    check(case)


@pytest.mark.parametrize("check", training.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("family_name", "task_type"), TRAINABLE)
def test_a_trainable_task_keeps_its_contract(case, family_name, task_type, check):
    check(case)
