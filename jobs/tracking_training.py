"""What a training leaves in MLflow beside its curves: its data, how it did label by label, the model, and its name."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.tracking import Tracking
from jobs.tracking_card import Card, Data
from jobs.tracking_model import Trained, log_model
from jobs.tracking_pictures import picture
from jobs.tracking_registry import Judged, Registration, register
from jobs.tracking_store import redact
from jobs.training.plan import EVALUATION
from pipelines.checkpoint import resolve
from pipelines.tasks.breakdown import Breakdown
from stages.base import Row
from stages.errors import MantaError, RowError, first_line
from stages.storage import open_storage

_LOG = logging.getLogger(__name__)


def tell_data(tracking: Tracking, uri: str, data: Data, context: str) -> None:
    """The rows as a dataset of the run; ``context`` is ``training`` or ``evaluation``."""
    tracking.dataset([uri], digest=data.digest, counts={"rows": data.rows}, context=context)


def tell_evaluation(tracking: Tracking, output: str) -> None:
    """``evaluation.json`` and its picture, where training has written one into ``output``."""
    try:
        content = open_storage(output).read(EVALUATION)
    except FileNotFoundError:
        return
    tracking.artifact(f"evaluation/{EVALUATION}", content)
    told = json.loads(content)["breakdown"]
    if told is not None:
        table = Breakdown(**told)
        drawn = picture(table)
        if drawn is not None:
            tracking.artifact(f"evaluation/{table.name}.png", drawn)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A training that is over."""

    card: Card
    model: str
    """The trained checkpoint: a folder, or an s3:// one."""
    rows: Sequence[Row] = ()
    """Evaluation rows, to judge a present champion on where it was judged on others."""


def tell_model(tracking: Tracking, done: Finished, name: str | None) -> Registration | None:
    """Writes the card beside the checkpoint and logs it; registers it where there is a ``name``.

    A store that fails is told in the log; where the model was to be registered it is a MantaError.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    folder = resolve(done.model).folder
    trained = Trained(folder=folder, card=done.card, step=done.card.steps)
    card = done.card.text(name or trained.name)
    (folder / "README.md").write_text(card, encoding="utf-8")
    if done.model.startswith("s3://"):
        open_storage(done.model).put("README.md", card.encode())
    try:
        model = tracking.ask(lambda client, run: log_model(client, run, trained))
        if name is None:
            return None
        found = tracking.ask(
            lambda client, run: register(
                client,
                name,
                model,
                run,
                judged=_judged(done.card),
                tags=_tags(done.card),
                judge=lambda ref: _judge(ref, done),
            )
        )
    except (MlflowException, SQLAlchemyError, OSError) as error:
        why = redact(first_line(error, 300))
        if name is None:
            _LOG.warning("MLflow misses the model of run %s: %s", tracking.run_id, why)
            return None
        raise MantaError(f"the model is trained, in {done.model}, but not registered as {name}: {why}") from error
    tracking.tags({"manta.registered_name": found.name, "manta.registered_version": found.version})
    tracking.tags({"manta.champion": "yes" if found.champion else "no", "manta.champion_against": found.against})
    return found


def _judged(card: Card) -> Judged:
    value = card.metrics.get(card.metric.name) if card.evaluation else None
    digest = card.evaluation.digest if card.evaluation else ""
    return Judged(task=card.task.name, metric=card.metric, value=value, digest=digest)


def _tags(card: Card) -> dict[str, str]:
    base = card.task.checkpoint
    return {
        "manta.family": card.family,
        "manta.data_digest": card.data.digest,
        "manta.checkpoint": redact(base.ref),
        "manta.checkpoint_content": base.content,
    }


def _judge(ref: str, done: Finished) -> float:
    """The metric of a registered model on the same rows. Raises MantaError where it cannot answer them."""
    from jobs.training.evaluate import evaluate

    try:
        return evaluate(done.card.task, resolve(ref).folder, done.rows).metrics[done.card.metric.name]
    except RowError as error:
        raise MantaError(error.message) from error
