"""Synchronised batch norm: workers with a part of the batch each are one with all of it."""

from __future__ import annotations

import copy

import pytest
import torch
from sync_targets import Frozen, alone, in_a_group, net, shared
from torch import nn

from pipelines.sync_batch_norm import SyncBatchNorm, convert, has_batch_norm

SIZE = 13


def difference(ranks, whole) -> float:
    """Of losses, gradients and running statistics; the largest."""
    summed = [sum(losses) for losses in zip(*(one["losses"] for one in ranks), strict=True)]
    found = [abs(ours - theirs) for ours, theirs in zip(summed, whole["losses"], strict=True)]
    for one in ranks:
        for part in ("gradients", "state"):
            for name, ours in one[part].items():
                theirs = whole[part][name]
                found.append(float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1)))
    return max(found)


@pytest.mark.parametrize("kind", ["plain", "frozen"])
@pytest.mark.parametrize(("world", "uneven"), [(2, False), (3, False), (3, True)])
def test_workers_with_parts_of_a_batch_are_one_with_all_of_it(gloo, kind, world, uneven):
    ranks = gloo.call(shared, kind, world, SIZE, uneven, True, world=world)
    assert difference(ranks, alone(kind, SIZE)) < 1e-5


def test_without_synchronisation_they_are_not(gloo):
    ranks = gloo.call(shared, "plain", 2, SIZE, False, False, world=2)
    assert difference(ranks, alone("plain", SIZE)) > 1e-3


def test_a_rank_without_examples_takes_part(gloo):
    ranks = gloo.call(shared, "frozen", 3, 2, True, True)  # 2 examples over 3 ranks: the first has none
    assert difference(ranks, alone("frozen", 2)) < 1e-5


def test_a_process_group_of_its_own(gloo):
    assert difference(gloo.call(in_a_group, SIZE)[1:], alone("plain", SIZE)) < 1e-5


@pytest.mark.parametrize("kind", ["plain", "frozen"])
def test_names_and_answers_stay(kind):
    before, x = net(kind).eval(), torch.randn(4, 3, 9, 9)
    after = convert(copy.deepcopy(before))
    assert list(after.state_dict()) == list(before.state_dict())
    torch.testing.assert_close(after(x), before(x))
    after.load_state_dict(before.state_dict())
    after.load_state_dict(dict(before.state_dict()))  # without torch's note of versions
    before.load_state_dict(after.state_dict())
    trained = {name for name, one in after.named_parameters() if one.requires_grad}
    assert {"1.weight", "1.bias"} <= trained
    assert not has_batch_norm(after)
    assert has_batch_norm(before)


def test_alone_it_is_plain_batch_norm():
    plain, ours = nn.BatchNorm2d(3), convert(nn.BatchNorm2d(3))
    assert isinstance(ours, SyncBatchNorm)
    x = torch.randn(5, 3, 4, 4)
    torch.testing.assert_close(ours(x), plain(x))
    torch.testing.assert_close(ours.running_var, plain.running_var)


def test_only_batch_norms_are_converted():
    model = nn.ModuleDict({"layer": nn.LayerNorm(3), "group": nn.GroupNorm(1, 4), "frozen": Frozen(3)})
    model["bare"] = nn.BatchNorm1d(3, affine=False)
    converted = convert(model)
    kinds = {name: type(one) for name, one in converted.items()}
    assert kinds == {"layer": nn.LayerNorm, "group": nn.GroupNorm, "frozen": SyncBatchNorm, "bare": nn.BatchNorm1d}
    assert converted["frozen"].momentum == 0.1
