"""Batches of examples of like length under a token budget, for inference and for training. Pure functions.

A batch costs its padded tokens: examples × (longest length + extra). Over the examples ordered by length, ``cut`` takes
the batches whose summed cost, with a fixed cost a batch, is least; so a few long texts never pad many short ones, and
short ones share a batch. ``training_steps`` shuffles such batches with a seed and deals them to the ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]

BATCH_COST = 32
"""What one more batch costs on a CPU, in tokens: weights are read from memory once a batch (BERT-base, 2 cores:
about 15 ms a batch and 0.6 ms a token)."""


def cut(
    lengths: ArrayLike,
    *,
    budget: int,
    extras: ArrayLike = 0,
    groups: ArrayLike = 0,
    equal_lengths: bool = False,
    batch_cost: int = BATCH_COST,
) -> list[list[int]]:
    """Indices of ``lengths`` in batches, the longest examples first.

    Every index is in exactly one batch. A batch costs at most ``budget`` padded tokens unless it is a single example,
    holds examples of one group, and of one length where ``equal_lengths``. ``extras`` are tokens that an example adds
    whatever its length (49 visual ones); ``batch_cost`` is the fixed cost of a batch in tokens.
    """
    sizes = np.asarray(lengths, np.int64) + np.asarray(extras, np.int64)
    order = np.argsort(sizes, kind="stable")
    apart = np.broadcast_to(np.asarray(groups, np.int64), sizes.shape)
    if equal_lengths:
        _, apart = np.unique(np.stack([apart, np.asarray(lengths, np.int64)]), axis=1, return_inverse=True)
    order = order[np.argsort(apart[order], kind="stable")]
    batches: list[list[int]] = []
    for members in np.split(order, np.flatnonzero(np.diff(apart[order])) + 1):
        batches += [members[start:end].tolist() for start, end in _cheapest(sizes[members], budget, batch_cost)]
    return sorted(batches, key=lambda batch: -int(sizes[batch[-1]]))


def _cheapest(sizes: Ints, budget: int, batch_cost: int) -> list[tuple[int, int]]:
    """Spans (start, end) of ascending ``sizes`` of least total cost: ``best[end]`` over every last batch's start."""
    best, start_of = np.zeros(len(sizes) + 1, np.int64), np.zeros(len(sizes) + 1, np.int64)
    for end, size in enumerate(sizes, start=1):
        low = max(end - max(budget // max(int(size), 1), 1), 0)
        costs = best[low:end] + np.arange(end - low, 0, -1) * size + batch_cost
        start_of[end] = low + int(costs.argmin())
        best[end] = costs.min()
    spans, end = [], len(sizes)
    while end:
        spans.append((int(start_of[end]), end))
        end = int(start_of[end])
    return spans[::-1]


def padded_tokens(lengths: ArrayLike, batches: Sequence[Sequence[int]], *, extras: ArrayLike = 0) -> int:
    """What these batches cost in padded tokens."""
    sizes = np.asarray(lengths, np.int64) + np.asarray(extras, np.int64)
    return sum(len(batch) * int(sizes[list(batch)].max()) for batch in batches)


def training_steps(
    lengths: ArrayLike,
    *,
    budget: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    step: int = 0,
    groups: ArrayLike = 0,
) -> list[list[int]]:
    """The batches of one rank in one epoch, from ``step`` on (0 is the epoch's start).

    Every rank gets the same number of batches, and every example is in exactly one batch of one rank; only where all
    batches are single examples and their number is no multiple of ``world`` are some repeated. At one step the ranks'
    batches are of like size, so none waits long for another. The same arguments always give the same batches.
    ``lengths`` include what an example adds to every sequence (visual tokens).
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank must be from 0 to {world - 1}, not {rank}")
    sizes = np.atleast_1d(np.asarray(lengths, np.int64))
    if not len(sizes):
        return []
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(sizes))  # so that examples of like length meet others in each epoch
    apart = np.broadcast_to(np.asarray(groups, np.int64), sizes.shape)
    batches = cut(sizes[shuffled], budget=budget, groups=apart[shuffled])
    dealt = _multiple([shuffled[batch].tolist() for batch in batches], world)
    steps = [dealt[first : first + world] for first in range(0, len(dealt), world)]
    mine = [steps[at][(rank + turn) % world] for turn, at in enumerate(random.permutation(len(steps)))]
    return mine[step:]


def _multiple(batches: list[list[int]], world: int) -> list[list[int]]:
    """Halves the largest batches until their number is a multiple of ``world``, keeping the order by size."""
    batches = list(batches)
    while len(batches) % world:
        at = max(range(len(batches)), key=lambda i: len(batches[i]))
        one = batches[at]
        if len(one) == 1:
            missing = world - len(batches) % world
            return batches + [batches[i % len(batches)] for i in range(missing)]
        batches[at : at + 1] = [one[: len(one) // 2], one[len(one) // 2 :]]
    return batches
