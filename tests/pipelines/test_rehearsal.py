"""A task is tried out without its weights, here or in a process of its own: the same errors either way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines import Task, task
from pipelines.checkpoint import resolve
from pipelines.rehearsal import Rehearsal
from stages.errors import CheckpointError, MantaError


def described(folder: Path) -> Task:
    return task("bert", "text-classification")(resolve(str(folder)))


@pytest.fixture(params=["here", "apart"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    import torch

    assert torch.__version__  # loaded, so that a rehearsal would be here
    if request.param == "apart":
        monkeypatch.delitem(sys.modules, "torch")
    return str(request.param)


def test_a_task_that_can_be_run_says_nothing(where: str, tiny) -> None:
    rehearsal = Rehearsal.start(described(tiny("bert", "text-classification")))
    rehearsal.wait()
    rehearsal.stop()


def test_a_head_that_is_missing_is_told(where: str, tiny) -> None:
    with pytest.raises(CheckpointError, match="lacks weights that this task needs"):
        Rehearsal.start(described(tiny("bert", "features"))).wait()


def test_a_process_that_dies_is_told_with_its_last_words(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr("pipelines.rehearsal._CHILD", "raise SystemExit('out of luck')")
    with pytest.raises(MantaError, match=r"exit code 1.*out of luck"):
        Rehearsal.start(described(tiny("bert", "text-classification"))).wait()
