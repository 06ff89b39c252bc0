"""One step of every trainable task of every family: however it is shared, loss and gradients are the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from every_task_targets import Step, five_steps, steps
from safetensors.torch import load_file
from training_rows import without_dropout

from pipelines import families, family

TASKS = [
    pytest.param(name, task, id=f"{name}/{task.name}")
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


@pytest.mark.parametrize(("family_name", "task"), TASKS)
def test_a_step_is_the_same_however_it_is_shared(gloo, tiny, tmp_path, family_name, task):
    what = (family_name, task.name, str(without_dropout(tiny(family_name, task.name), tmp_path / "steady")))
    normed = []

    def shared_and_alone(scratch: Path, *, wide: bool) -> float:
        with ThreadPoolExecutor(1) as beside:  # two cores: the ranks do theirs meanwhile
            ways = {"ddp": {"wide": wide}, "fsdp": {"fsdp": True, "wide": wide}}
            shared = beside.submit(gloo.call, steps, *what, str(scratch / "shared"), ways, world=2)
            ways = {"whole": {"wide": wide}, "parts": {"token_budget": 1, "wide": wide}}
            alone = steps(0, *what, str(scratch / "alone"), ways)
        whole, parts = alone["whole"], alone["parts"]
        check_that_it_shows(whole, parts, contrasts=task.contrasts)
        normed.append(whole.normed)
        others = [step for rank in shared.result() for step in rank.values()]
        return max(difference(one, whole) for one in (others if task.contrasts else [parts, *others]))

    assert without_rounding(shared_and_alone, tmp_path / "frozen") < 1e-5

    def synchronised(scratch: Path, *, wide: bool) -> float:
        """Norms over all examples of a step, so that the step must be one batch."""
        how = {"": {"batch_norm": "synchronised", "wide": wide}}
        one = steps(0, *what, str(scratch / "one"), how)[""]
        assert one.batches == 1 < one.examples
        both = gloo.call(steps, *what, str(scratch / "both"), how, world=2)
        return max(difference(rank[""], one) for rank in both)

    if normed[0]:
        assert without_rounding(synchronised, tmp_path / "synchronised") < 1e-5


def check_that_it_shows(whole: Step, parts: Step, *, contrasts: bool) -> None:
    """Fails where a step could not come out differently."""
    assert whole.examples >= 4
    assert np.isfinite(whole.loss)
    assert max(float(one.abs().max()) for one in whole.gradients.values()) > 1e-4
    assert parts.batches == whole.examples
    if contrasts:  # a step is one batch a worker
        assert whole.batches == 1
    else:
        assert whole.batches < whole.examples or whole.groups == whole.examples


def without_rounding(differ: Callable[..., float], scratch: Path) -> float:
    """The difference in float32; in float64 where it is large, as some models magnify rounding a thousand times."""
    found = differ(scratch / "float32", wide=False)
    return found if found < 1e-5 else differ(scratch / "float64", wide=True)


@pytest.mark.parametrize("task_name", ["token-classification", "document-classification"])
def test_fewer_workers_than_shares_do_the_same_step(gloo, tiny, tmp_path, task_name):
    """Four shares: by four workers, by two with two each, by three of which two have one and a void batch."""
    what = ("layoutlm", task_name, str(without_dropout(tiny("layoutlm", task_name), tmp_path / "steady")))
    wanted = steps(0, *what, str(tmp_path / "whole"), {"": {}})[""]
    how = {"": {"shares": 4, "token_budget": 30, "gradient_checkpointing": True}}
    batches = []
    for world in (2, 3):
        ranks = gloo.call(steps, *what, str(tmp_path / f"by {world}"), how, world=world)
        batches.append(sum(rank[""].batches for rank in ranks))
        assert all(difference(rank[""], wanted) < 1e-5 for rank in ranks)
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
