"""What benches that train share: rows to a table, ``manta train`` on it, ``manta run`` with what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.common.ask import tell
from jobs.bench.common.learning import listed
from stages.base import Row
from stages.columns import schema

if TYPE_CHECKING:
    from jobs.train import TrainRecord
    from jobs.training.settings import Augment, Train
    from pipelines import Options


_TWO_STEPS = {"train.epochs": "1", "train.max_steps": "2"}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A task of a family, and how it is learned."""

    family: str
    task: str
    settings: Mapping[str, str]
    """What ``manta train --set`` is told."""
    workers: int = 1

    def learn(self, start: Path, rows: Sequence[Row], output: Path) -> TrainRecord:
        """Trains the checkpoint ``start`` on the rows."""
        from jobs.train import train

        data, place = write_rows(rows, output / "rows.parquet"), str(output / "training")
        settings, augment, options = self.how(data, place)
        return train(
            self.family,
            self.task,
            data,
            place,
            checkpoint=str(start),
            workers=self.workers,
            settings=settings,
            augment=augment,
            options=options,
            say=tell,
        )

    def how(self, data: str, output: str) -> tuple[Train, Augment, Options]:
        """The settings as ``manta train`` reads them."""
        from jobs.commands.train import training_for
        from jobs.config import Given

        told = {"family": self.family, "task": self.task, "data": data, "output": output}
        given = {f"run.{name}": Given(value=value) for name, value in told.items()}
        sets = [f"{name}={value}" for name, value in self.settings.items()]
        _, settings, augment, options = training_for(None, sets, given)
        return settings, augment, options

    def answer(
        self,
        model: str,
        rows: Sequence[Row],
        output: Path,
        *,
        task: str = "",
        options: Mapping[str, object] | None = None,
    ) -> list[Row]:
        """What a checkpoint answers to each of the rows, by the lesson's task or another of its family."""
        from jobs.run import run

        data = write_rows(rows, output / "rows.parquet")
        result = run(
            self.family, task or self.task, [data], str(output / "run"), checkpoint=model, options=options or {}
        )
        assert not result.record.errors, result.record.errors
        found = {row["record"]: row for row in result.rows.to_table().to_pylist()}
        return [found[number] for number in range(len(rows))]

    def quick(self) -> Lesson:
        """Two steps of one worker, to see that it works."""
        return replace(self, settings={**self.settings, **_TWO_STEPS}, workers=1)

    def told(self) -> str:
        """The settings, for a report's notes."""
        return listed(self.settings)


def write_rows(rows: Sequence[Row], file: Path) -> str:
    """The rows as a table with the columns that the first one has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema(tuple(rows[0]))), file)
    return str(file)


def share_right(answers: Sequence[Row], right: Sequence[str]) -> float:
    """Which share of the labels is right."""
    return sum(one["label"] == label for one, label in zip(answers, right, strict=True)) / len(right)
