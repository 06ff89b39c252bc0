"""``encoded/`` as a worker sees it: examples by number, as an epoch sees them, and one rank's batches of them.

What a step consists of does not depend on how many workers there are: every step is dealt into as many shares as there
were workers at the start, and each rank takes every ``world``-th share.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from jobs.training.encode import FOLDER
from stages.batches import training_steps
from stages.examples import ENCODED, Example, unpack
from stages.storage import Storage, open_storage

Vary: TypeAlias = Callable[[Example, Generator], Example]
"""What an epoch changes in an example, by chance."""

VOID = "void"
"""In a batch: it only keeps the ranks in step, and counts for nothing."""


class Encoded(Dataset[Example]):
    """Every example of ``encoded/``; a row's windows are examples of their own."""

    def __init__(self, output: str) -> None:
        self._parts = _mapped(open_storage(output))
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        counts = np.concatenate([np.asarray(pc.list_value_length(part.field("sizes"))) for part in self._parts])
        self._row = np.repeat(np.arange(len(counts)), counts)
        self._window = np.concatenate([np.arange(count) for count in counts])
        self.lengths = self._flat("sizes") + self._flat("extras")
        self.groups = self._flat("groups")

    def _flat(self, name: str) -> NDArray[np.int32]:
        return np.concatenate([np.asarray(part.field(name).flatten(), np.int32) for part in self._parts])

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, at: int) -> Example:
        row = int(self._row[at])
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return unpack(self._parts[part][row - int(self._starts[part])].as_py())[int(self._window[at])]


def _mapped(storage: Storage) -> list[pa.StructArray]:
    """The parts of ``encoded/``, in a file of this machine's that is mapped into memory: a corpus's pixels are more
    than memory holds. The file is gone when nothing reads it any longer."""
    names = sorted(entry.name for entry in storage.list(f"{FOLDER}/"))
    with tempfile.NamedTemporaryFile(prefix="manta-encoded-") as file:
        with pa.ipc.new_file(file, pa.schema({"encoded": ENCODED})) as writer:
            for name in names:
                for batch in pq.ParquetFile(pa.BufferReader(storage.read(name))).iter_batches():
                    writer.write_batch(batch)
        file.flush()
        table = pa.ipc.open_file(pa.memory_map(file.name)).read_all()
    return [chunk for chunk in table["encoded"].chunks if len(chunk)]


class Seen(Dataset[Example]):
    """The examples as an epoch sees them, by (epoch, number). What is drawn depends on seed, epoch and number alone."""

    def __init__(self, encoded: Encoded, vary: Vary, seed: int) -> None:
        self._encoded, self._vary, self._seed = encoded, vary, seed

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        epoch, at = key
        return self._vary(self._encoded[at], np.random.default_rng([self._seed, epoch, at]))


@dataclass(frozen=True, kw_only=True)
class Share:
    """One rank's part of an epoch: the same for the same numbers, on any machine."""

    budget: int
    """Padded tokens of a batch."""
    seed: int
    rank: int
    world: int
    shares: int = 0
    """Parts that a step is dealt into; 0: as many as there are ranks."""

    @property
    def mine(self) -> list[int]:
        """The shares that this rank takes, one after the other."""
        return list(range(self.rank, self.shares or self.world, self.world))

    @property
    def turns(self) -> int:
        """How many shares the busiest rank takes, so that all ranks can do as many batches."""
        return -(-(self.shares or self.world) // self.world)


class Steps(Sampler[list[tuple[int, int]]]):
    """The batches of one rank, epoch by epoch, as (epoch, number) of their examples. An empty one is void."""

    def __init__(self, data: Encoded, share: Share) -> None:
        self._data, self._share, self._epoch = data, share, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next."""
        self._epoch = epoch

    def _batches(self, epoch: int, rank: int) -> list[list[int]]:
        share, data = self._share, self._data
        return training_steps(
            data.lengths,
            budget=share.budget,
            seed=share.seed,
            epoch=epoch,
            rank=rank,
            world=share.shares or share.world,
            groups=data.groups,
        )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, share = self._epoch, self._share
        dealt = [self._batches(epoch, one) for one in share.mine]
        void: list[list[int]] = [[]] * (share.turns - len(dealt))
        for batches in zip(*dealt, strict=True):
            yield from ([(epoch, at) for at in batch] for batch in (*batches, *void))

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        """The same in every epoch: it depends on the lengths alone."""
        return len(self._batches(0, 0)) * self._share.turns


class Loader(DataLoader[Example]):
    """A DataLoader of one rank's batches. The Trainer finds ``set_epoch`` here, or, where it skips batches, at the
    sampler."""

    def __init__(self, data: Seen, steps: Steps, collate: Callable[[Sequence[Example]], dict[str, Any]]) -> None:
        super().__init__(data, batch_sampler=steps, collate_fn=_Collate(collate))
        self._steps = steps

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next."""
        self._steps.set_epoch(epoch)


class _Collate:
    """Examples to tensors; a void batch is the last one again, marked."""

    def __init__(self, collate: Callable[[Sequence[Example]], dict[str, Any]]) -> None:
        self._collate = collate
        self._last: dict[str, Any] = {}

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        if not examples:
            return {**self._last, VOID: True}
        self._last = self._collate(examples)
        return self._last
