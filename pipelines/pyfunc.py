"""A trained checkpoint as an MLflow ``python_function``: ``mlflow.pyfunc.load_model("models:/NAME@champion")``.

It takes a table with the columns that the task reads and answers with those that it writes, by the same Predictor as
``manta run``. Needs manta to be installed where it is loaded; the checkpoint in it is a plain transformers one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import task as find_task
from pipelines.checkpoint import resolve
from stages.errors import Failure
from stages.predictor import Predictor
from stages.settings import Predict

if TYPE_CHECKING:
    from pandas import DataFrame

FAMILY, TASK = "manta.family", "manta.task"
"""Keys of the MLmodel file's metadata."""


class Answering:
    """A task that answers tables."""

    def __init__(self, family: str, task: str, folder: str) -> None:
        self._task = find_task(family, task)(resolve(folder))
        self._predictor = Predictor(self._task, Predict(dtype="float32")).open()

    def predict(self, model_input: DataFrame, params: Mapping[str, object] | None = None) -> DataFrame:
        """One row of answers a row of ``model_input``. Raises ValueError naming a row that cannot be answered."""
        import pandas as pd

        rows = [{str(name): _plain(value) for name, value in row.items()} for row in model_input.to_dict("records")]
        answers = []
        for number, answer in enumerate(self._predictor.predict(rows)):
            if isinstance(answer, Failure):
                raise ValueError(f"row {number} cannot be answered: {answer.message}")  # noqa: TRY004
            answers.append({name: answer.get(name) for name in self._task.writes})
        return pd.DataFrame(answers, columns=list(self._task.writes))


def _load_pyfunc(path: str) -> Answering:
    """What MLflow calls: ``path`` is the checkpoint's folder, beside which the MLmodel file lies."""
    from mlflow.models import Model

    about = Model.load(str(Path(path).parent / "MLmodel")).metadata
    return Answering(about[FAMILY], about[TASK], path)


def _plain(value: object) -> object:
    """Lists, where MLflow's schema check has made arrays of them."""
    import numpy as np

    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
