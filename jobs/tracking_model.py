"""A trained checkpoint as an MLflow logged model: safetensors, signature, card, pinned requirements.

What is logged is a folder that transformers loads by itself (``model/``) beside an ``MLmodel`` file, by which
``mlflow.pyfunc.load_model`` answers tables (jobs/tracking_pyfunc.py). Nothing in it is pickled.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.tracking_card import Card, requirements
from jobs.tracking_pyfunc import FAMILY, TASK
from pipelines import Task
from stages.columns import COLUMNS, MADE_OF, carried

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, DataType, Object, Schema

FOLDER = "model"
"""The checkpoint's folder in the logged model."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A checkpoint to log."""

    folder: Path
    """Holds the checkpoint: safetensors, configuration, tokenizer."""
    card: Card
    step: int

    @property
    def name(self) -> str:
        """As the store calls it."""
        return f"{self.card.family}-{self.card.task.name}"


def log_model(client: MlflowClient, run_id: str, trained: Trained) -> str:
    """Puts the checkpoint into the store; returns the logged model's id. Raises what the store raises."""
    from mlflow.entities import LoggedModelOutput

    card = trained.card
    tags = {FAMILY: card.family, TASK: card.task.name, "manta.data_digest": card.data.digest}
    model = client.create_logged_model(
        client.get_run(run_id).info.experiment_id,
        name=trained.name,
        source_run_id=run_id,
        tags=tags,
        model_type=card.task.name,
    )
    identity = str(model.model_id)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            write_beside(Path(scratch), trained, run_id=run_id, model_id=identity)
            client.log_model_artifacts(identity, scratch)
        client.log_model_artifacts(identity, str(trained.folder), FOLDER)
    except BaseException:
        client.finalize_logged_model(identity, "FAILED")
        raise
    client.finalize_logged_model(identity, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(identity, step=trained.step)])
    return identity


def write_beside(folder: Path, trained: Trained, *, run_id: str, model_id: str) -> None:
    """The files that lie beside the checkpoint."""
    from mlflow.models import Model

    card = trained.card
    described = Model(
        run_id=run_id,
        model_id=model_id,
        signature=signature(card.task),
        metadata={FAMILY: card.family, TASK: card.task.name},
        model_size_bytes=sum(path.stat().st_size for path in trained.folder.iterdir() if path.is_file()),
    )
    # What mlflow.pyfunc.add_to_model writes; importing that module alone warns of its own type hints.
    described.add_flavor(
        "python_function",
        loader_module="jobs.tracking_pyfunc",
        data=FOLDER,
        python_version=platform.python_version(),
    )
    described.save(str(folder / "MLmodel"))
    (folder / "requirements.txt").write_text("\n".join(requirements(card.packages)) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card.text(trained.name), encoding="utf-8")


def signature(task: Task) -> ModelSignature:
    """The columns that the task takes of a table of ``manta run`` and those that it answers with, with their types.

    What an image may stand for, words and their boxes, is marked as optional, as is what the task only uses.
    """
    from mlflow.models import ModelSignature

    read = [carried(name) for name in task.reads]
    instead = [MADE_OF[name] for name in read if name in MADE_OF]
    needed = [name for name in read if name not in MADE_OF]
    taken = dict.fromkeys((*read, *instead, *map(carried, task.optional)))
    return ModelSignature(inputs=_schema(taken, needed), outputs=_schema(task.writes, task.writes))


def _schema(names: Iterable[str], needed: Collection[str]) -> Schema:
    from mlflow.types.schema import ColSpec, Schema

    return Schema([ColSpec(_type(COLUMNS[name].type), name, required=name in needed) for name in names])


def _type(arrow: pa.DataType) -> Array | DataType | Object:
    """MLflow's name for an Arrow type."""
    from mlflow.types.schema import Array, DataType, Object, Property

    if pa.types.is_list(arrow):
        return Array(_type(arrow.value_type))
    if pa.types.is_struct(arrow):
        return Object([Property(field.name, _type(field.type), required=False) for field in arrow])
    kinds: tuple[tuple[bool, DataType], ...] = (
        (pa.types.is_string(arrow), DataType.string),
        (pa.types.is_binary(arrow), DataType.binary),
        (pa.types.is_boolean(arrow), DataType.boolean),
        (pa.types.is_int64(arrow), DataType.long),
        (pa.types.is_integer(arrow), DataType.integer),
        (pa.types.is_float64(arrow), DataType.double),
        (pa.types.is_floating(arrow), DataType.float),
    )
    return next(kind for holds, kind in kinds if holds)
