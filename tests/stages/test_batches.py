"""Laws of the batches: nothing lost, the budget held, the cost least, every rank the same number of steps."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.batches import cut, padded_tokens, training_steps

lengths = st.lists(st.integers(1, 600), max_size=60)
some_lengths = st.lists(st.integers(1, 600), min_size=1, max_size=60)
budgets = st.integers(1, 3000)


@given(lengths, budgets, st.integers(0, 49), st.data())
def test_every_example_once_within_the_budget_and_its_group(sizes, budget, extra, data):
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes)))
    batches = cut(sizes, budget=budget, extras=[extra] * len(sizes), groups=groups)
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or padded_tokens(sizes, [batch], extras=[extra] * len(sizes)) <= budget
        assert len({groups[i] for i in batch}) == 1
    longest = [max(sizes[i] for i in batch) for batch in batches]
    assert all(a >= b for a, b in pairwise(longest))


@given(st.lists(st.integers(1, 4), max_size=30), budgets)
def test_equal_lengths_never_pad(sizes, budget):
    batches = cut(sizes, budget=budget, equal_lengths=True)
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    assert all(len({sizes[i] for i in batch}) == 1 for batch in batches)


@given(some_lengths, st.integers(600, 3000))
def test_no_worse_than_fixed_batches_of_sorted_examples(sizes, budget):
    cost = 32
    ours = cut(sizes, budget=budget, batch_cost=cost)
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    per_batch = max(budget // max(sizes), 1)
    fixed = [order[at : at + per_batch] for at in range(0, len(order), per_batch)]
    assert padded_tokens(sizes, ours) + cost * len(ours) <= padded_tokens(sizes, fixed) + cost * len(fixed)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7), st.integers(12, 40), st.integers(0, 20))
def test_least_cost_of_all_contiguous_cuts(sizes, budget, cost):
    order = sorted(sizes)
    cheapest = None
    for mask in range(2 ** (len(order) - 1)):
        ends = [i + 1 for i in range(len(order) - 1) if mask >> i & 1] + [len(order)]
        parts = [order[a:b] for a, b in pairwise([0, *ends])]
        if all(len(part) == 1 or len(part) * part[-1] <= budget for part in parts):
            total = sum(len(part) * part[-1] + cost for part in parts)
            cheapest = total if cheapest is None else min(cheapest, total)
    ours = cut(sizes, budget=budget, batch_cost=cost)
    assert padded_tokens(sizes, ours) + cost * len(ours) == cheapest


def test_a_few_long_texts_do_not_pad_many_short_ones():
    sizes = [500, 480] + [10] * 100
    assert padded_tokens(sizes, cut(sizes, budget=4096)) == 2 * 500 + 1000


training = {"budget": st.integers(1, 3000), "seed": st.integers(0, 99), "world": st.integers(1, 5)}


@given(sizes=some_lengths, **training)
def test_ranks_share_out_every_example_in_the_same_number_of_steps(sizes, budget, seed, world):
    ranks = [training_steps(sizes, budget=budget, seed=seed, epoch=0, rank=rank, world=world) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    seen = [i for batches in ranks for batch in batches for i in batch]
    assert set(seen) == set(range(len(sizes)))
    single = all(len(batch) == 1 for batches in ranks for batch in batches)
    assert len(seen) == len(sizes) or (single and len(seen) - len(sizes) < world)
    for batch in (batch for batches in ranks for batch in batches):
        assert len(batch) == 1 or padded_tokens(sizes, [batch]) <= budget


@given(sizes=some_lengths, step=st.integers(0, 20), **training)
def test_resuming_at_a_step_gives_the_rest_of_the_same_epoch(sizes, step, budget, seed, world):
    def batches(step):
        return training_steps(sizes, budget=budget, seed=seed, epoch=3, rank=world - 1, world=world, step=step)

    assert batches(step) == batches(0)[step:]


def test_epochs_and_seeds_differ():
    sizes = np.random.default_rng(0).integers(5, 200, 300)
    epochs = [training_steps(sizes, budget=1000, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert epochs[0] != epochs[1]
    assert epochs[0] != epochs[2]
    together = [{frozenset(batch) for batch in epoch} for epoch in epochs]
    assert together[0] != together[1]


def test_ranks_of_a_step_hold_like_amounts():
    sizes = np.random.default_rng(0).integers(5, 500, 1000)
    ranks = [training_steps(sizes, budget=2000, seed=0, epoch=0, rank=rank, world=2) for rank in range(2)]
    costs = np.array([[padded_tokens(sizes, [batch]) for batch in batches] for batches in ranks])
    assert (costs.max(axis=0) - costs.min(axis=0)).sum() < 0.25 * costs.max(axis=0).sum()


def test_a_rank_outside_the_world_is_a_bug():
    with pytest.raises(ValueError, match="rank must be from 0 to 1"):
        training_steps([1], budget=1, seed=0, epoch=0, rank=2, world=2)


def test_no_examples_no_steps():
    assert cut([], budget=10) == []
    assert training_steps([], budget=10, seed=0, epoch=0) == []
