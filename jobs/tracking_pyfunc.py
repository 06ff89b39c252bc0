"""A trained checkpoint as an MLflow ``python_function``: ``mlflow.pyfunc.load_model("models:/NAME@champion")``.

It takes a table with the columns that ``manta run`` takes for the task, and answers with those that the task writes, by
the same stages and the same Predictor. Images, recordings and videos are files' bytes: where ``mlflow models serve``
answers strangers, a path would be one of its own machine. Needs manta to be installed where it is loaded; the
checkpoint in it is a plain transformers one.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.ways_in import columns_of, fingerprint, from_files, medium
from pipelines import task as find_task
from pipelines.checkpoint import resolve
from stages.base import OpenStages, Row, failures_column
from stages.columns import MADE_OF, SENSED
from stages.errors import Failure
from stages.fetch import path_of
from stages.predictor import Predictor
from stages.settings import Predict, Settings
from stages.tables import typed

if TYPE_CHECKING:
    from pandas import DataFrame

FAMILY, TASK = "manta.family", "manta.task"
"""Keys of the MLmodel file's metadata."""
_FILES = {*SENSED.values(), *MADE_OF.values()}
"""Columns that hold files."""


class Answering:
    """A task that answers tables."""

    def __init__(self, family: str, task: str, folder: str) -> None:
        """Loads the model. Raises UsageError where what hears or sees for it is not installed."""
        self._task, settings = find_task(family, task)(resolve(folder)), Settings()
        self._task.load_processor()
        if medium(self._task):
            fingerprint(self._task, settings)
        self._columns = columns_of(self._task)
        self._predictor = Predictor(self._task, Predict(dtype="float32")).open()
        files = from_files(self._task, self._columns, settings)
        self._stages = OpenStages(() if files is None else (files,), last_try=True)
        weakref.finalize(self, self._stages.close)  # MLflow never says that a model is done with

    def predict(self, model_input: DataFrame, params: Mapping[str, object] | None = None) -> DataFrame:  # noqa: ARG002
        """One row of answers a row of ``model_input``. Raises ValueError naming a row that cannot be answered, and
        UsageError where no row can be."""
        import pandas as pd

        self._task.check({name for name in self._columns.all if name in model_input})
        answers = []
        for number, answer in enumerate(self._predictor.predict(list(self._rows(model_input)))):
            if isinstance(answer, Failure):
                raise _refused(number, answer.message)
            answers.append({name: answer.get(name) for name in self._task.writes})
        return pd.DataFrame(answers, columns=list(self._task.writes))

    def _rows(self, model_input: DataFrame) -> Iterator[Row]:
        """The rows as the task reads them: what files show and tell is read off them."""
        rows = [{str(name): _plain(value) for name, value in row.items()} for row in model_input.to_dict("records")]
        arrays, failures = typed(rows, self._columns.all, self._columns)
        for number, failure in enumerate(failures):
            if failure is not None:
                raise _refused(number, failure.message)
        _check_files(arrays)
        table = pa.table({**arrays, "failure": failures_column(failures)})
        read = (row for part in self._stages(table) for row in part.to_pylist())
        for number, row in enumerate(read):
            if (why := row.pop("failure")) is not None:
                raise _refused(number, why["message"])
            yield row


def _load_pyfunc(path: str) -> Answering:
    """What MLflow calls: ``path`` is the checkpoint's folder, beside which the MLmodel file lies."""
    from mlflow.models import Model

    about = Model.load(str(Path(path).parent / "MLmodel")).metadata
    return Answering(about[FAMILY], about[TASK], path)


def _refused(number: int, why: str) -> ValueError:
    return ValueError(f"row {number} cannot be answered: {why}")


def _check_files(arrays: Mapping[str, pa.Array]) -> None:
    """Raises ValueError for a path where a file is wanted."""
    for name in _FILES & arrays.keys():
        for number, value in enumerate(arrays[name]):
            if path_of(value.as_py() or b"%PDF") is not None:
                raise _refused(number, f"the column {name!r} takes a file's bytes, not its path: read the file first")


def _plain(value: object) -> object:
    """Lists where MLflow's schema check has made arrays of them, None where pandas has a mark for nothing."""
    import numpy as np
    import pandas as pd

    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value
