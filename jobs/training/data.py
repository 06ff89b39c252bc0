"""``encoded/`` as a worker sees it: examples by number, and the loader that hands out one rank's batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from jobs.training.encode import FOLDER
from stages.batches import training_steps
from stages.examples import Example, unpack
from stages.storage import open_storage


class Encoded(Dataset[Example]):
    """Every example of ``encoded/``; a row's windows are examples of their own."""

    def __init__(self, output: str) -> None:
        storage = open_storage(output)
        names = sorted(entry.name for entry in storage.list(f"{FOLDER}/"))
        parts = [pq.read_table(pa.BufferReader(storage.read(name))) for name in names]
        self._rows = pa.concat_tables(parts)["encoded"].combine_chunks()
        counts = np.array([len(sizes) for sizes in self._rows.field("sizes").to_pylist()])
        self._row = np.repeat(np.arange(len(counts)), counts)
        self._window = np.concatenate([np.arange(count) for count in counts])
        self.lengths = self._flat("sizes") + self._flat("extras")
        self.groups = self._flat("groups")

    def _flat(self, name: str) -> NDArray[np.int32]:
        return np.asarray(self._rows.field(name).flatten().to_numpy(zero_copy_only=False), np.int32)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, at: int) -> Example:
        return unpack(self._rows[int(self._row[at])].as_py())[int(self._window[at])]


@dataclass(frozen=True, kw_only=True)
class Share:
    """One rank's part of an epoch: the same for the same numbers, on any machine."""

    budget: int
    """Padded tokens of a batch."""
    seed: int
    rank: int
    world: int


class Steps(Sampler[list[int]]):
    """The batches of one rank, epoch by epoch."""

    def __init__(self, data: Encoded, share: Share) -> None:
        self._data, self._share, self._epoch = data, share, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next."""
        self._epoch = epoch

    def _batches(self, epoch: int) -> list[list[int]]:
        share, data = self._share, self._data
        return training_steps(
            data.lengths,
            budget=share.budget,
            seed=share.seed,
            epoch=epoch,
            rank=share.rank,
            world=share.world,
            groups=data.groups,
        )

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches(self._epoch))

    def __len__(self) -> int:
        return len(self._batches(0))


class Loader(DataLoader[Example]):
    """A DataLoader that the Trainer's epochs reach through ``set_epoch``."""

    def __init__(self, data: Encoded, steps: Steps, collate: Callable[[Sequence[Example]], dict[str, Any]]) -> None:
        super().__init__(data, batch_sampler=steps, collate_fn=collate)
        self._steps = steps

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next."""
        self._steps.set_epoch(epoch)
