"""One step of every trainable task of every family: however it is shared, loss and gradients are the same."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from every_task_targets import Step, five_steps, one_step
from safetensors.torch import load_file
from training_rows import without_dropout

from pipelines import families, family

TASKS = [
    pytest.param(name, task.name, id=f"{name}/{task.name}")
    for name in families()
    for task in family(name).tasks
    if task.metric is not None
]


def difference(ours: Step, theirs: Step) -> float:
    """The largest of loss and gradients, beside the largest gradient."""
    assert ours.gradients.keys() == theirs.gradients.keys()
    largest = max(float(one.abs().max()) for one in theirs.gradients.values())
    found = [abs(ours.loss - theirs.loss) / max(abs(theirs.loss), 1)]
    for name, one in theirs.gradients.items():
        found.append(float((ours.gradients[name] - one).abs().max()) / max(largest, 1))
    return max(found)


@pytest.mark.parametrize(("family_name", "task_name"), TASKS)
def test_a_step_is_the_same_however_it_is_shared(gloo, tiny, tmp_path, family_name, task_name):
    folder = without_dropout(tiny(family_name, task_name), tmp_path / "steady")
    step = functools.partial(one_step, 0, family_name, task_name, str(folder))
    whole = step(str(tmp_path / "whole"))
    assert whole.examples >= 4
    assert torch.isfinite(torch.tensor(whole.loss))
    assert max(float(one.abs().max()) for one in whole.gradients.values()) > 1e-4, "gradients that could differ"

    parts = step(str(tmp_path / "parts"), budget=1)
    assert parts.batches == whole.examples > whole.batches
    assert difference(parts, whole) < 1e-5

    shared = functools.partial(gloo.call, one_step, family_name, task_name, str(folder))
    for name, how in {"ddp": {}, "fsdp": {"fsdp": True}}.items():
        ranks = shared(str(tmp_path / name), json.dumps(how), world=2)
        for rank in ranks:
            assert difference(rank, whole) < 1e-5, name

    if whole.normed:  # norms over all examples of a step, so the step must be one batch
        one = step(str(tmp_path / "normed"), json.dumps({"batch_norm": "synchronised"}))
        assert one.batches == 1 < one.examples
        for rank in shared(str(tmp_path / "both"), json.dumps({"batch_norm": "synchronised"}), world=2):
            assert difference(rank, one) < 1e-5


@pytest.mark.parametrize("task_name", ["token-classification", "document-classification"])
def test_fewer_workers_than_shares_do_the_same_step(gloo, tiny, tmp_path, task_name):
    """Four shares: by four workers, by two with two each, by three of which two have one and a void batch."""
    folder = without_dropout(tiny("layoutlm", task_name), tmp_path / "steady")
    step = functools.partial(one_step, 0, "layoutlm", task_name, str(folder))
    wanted = step(str(tmp_path / "whole"))
    how = json.dumps({"shares": 4, "budget": 30})
    batches = []
    for world in (2, 3):
        out = str(tmp_path / f"by {world}")
        ranks = gloo.call(one_step, "layoutlm", task_name, str(folder), out, how, world=world)
        batches.append(sum(rank.batches for rank in ranks))
        assert all(difference(rank, wanted) < 1e-5 for rank in ranks)
    assert batches[0] == batches[1] >= 4


def test_five_steps_of_layoutlmv2_with_synchronised_norms(gloo, tiny, tmp_path):
    """Two workers with half of each batch are one with all of it: losses, weights, running statistics."""
    folder = str(without_dropout(tiny("layoutlmv2", "token-classification"), tmp_path / "steady"))
    run = functools.partial(five_steps, family="layoutlmv2", name="token-classification", folder=folder)
    whole, state = run(0, scratch=str(tmp_path / "one"))
    halves, shared = gloo.call(functools.partial(run, scratch=str(tmp_path / "two")), world=2)[0]
    assert len(whole) == 5
    np.testing.assert_allclose(list(halves.values()), list(whole.values()), atol=1e-5)
    statistics = [name for name in state if "running_" in name]
    assert statistics
    for name, one in state.items():
        if not name.endswith("key.bias"):  # changes no answer: its gradient is rounding, which Adam makes large
            torch.testing.assert_close(shared[name], one, atol=1e-5, rtol=1e-5)
    before = load_file(Path(folder) / "model.safetensors")
    assert max(float((state[name] - before[name]).abs().max()) for name in statistics) > 1e-3
