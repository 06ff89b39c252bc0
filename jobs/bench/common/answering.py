"""A task's answers to a table, in float32: by ``manta run``, or, for a quick try, in this process, without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.base import Row
from stages.errors import Failure, MantaError
from stages.settings import Predict, Settings

EXACT = Predict(dtype="float32", device="cpu")


def answers(
    family: str,
    task: str,
    *,
    checkpoint: Path,
    table: str,
    output: Path,
    options: Mapping[str, object] | None = None,
    alone: bool = False,
) -> list[Row]:
    """The answers to a Parquet table's rows, in their order; a run leaves ``output``.

    ``alone`` answers in this process, without Ray. Raises MantaError where a row fails.
    """
    if alone:
        return _alone(family, task, checkpoint, table, options or {})
    from jobs.run import run

    done = run(
        family,
        task,
        [table],
        str(output),
        checkpoint=str(checkpoint),
        options=options,
        settings=Settings(predict=EXACT),
    )
    if done.exit_code:
        raise MantaError(f"{family} {task}: rows failed: {done.record.errors}")
    rows: list[Row] = done.rows.to_table().sort_by("record").to_pylist()
    return rows


def _alone(family: str, task: str, checkpoint: Path, table: str, options: Mapping[str, object]) -> list[Row]:
    import pipelines
    from pipelines.checkpoint import resolve
    from stages.predictor import Predictor

    kind = pipelines.task(family, task)
    opened = Predictor(kind(resolve(str(checkpoint)), kind.options_type(**options)), EXACT).open()  # type: ignore[arg-type]
    found = opened.predict([{"uri": table, "page": 1, "record": n, **row} for n, row in enumerate(_rows(table))])
    failed = next((one for one in found if isinstance(one, Failure)), None)
    if failed is not None:
        raise MantaError(f"{family} {task}: {failed.message}")
    return [one for one in found if not isinstance(one, Failure)]


def index(
    family: str,
    *,
    checkpoint: Path,
    table: str,
    output: Path,
    options: Mapping[str, object] | None = None,
    alone: bool = False,
) -> float:
    """Indexes a table's texts into ``output``/index; texts a second, or 0 for those that are indexed here."""
    import pipelines
    from pipelines.checkpoint import resolve
    from pipelines.tasks.dense_index import DenseIndex, index_texts

    if alone:
        kind = pipelines.task(family, "index")
        task = kind(resolve(str(checkpoint)), kind.options_type(**(options or {})))  # type: ignore[arg-type]
        assert isinstance(task, DenseIndex)
        index_texts(task, [str(row["text"]) for row in _rows(table)], output)
        return 0.0
    from jobs.run import run

    done = run(
        family,
        "index",
        [table],
        str(output),
        checkpoint=str(checkpoint),
        options=options,
        settings=Settings(predict=EXACT),
    )
    return done.record.pages_per_second


def _rows(table: str) -> list[Row]:
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(table).to_pylist()
    return rows
