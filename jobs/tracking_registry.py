"""Trained models under a name: versions in MLflow's registry, and which of them is the champion.

The alias ``champion`` goes to the first version that was judged; after that it moves only to one whose metric on the
same evaluation data is better. Where the present champion was judged on other data (another digest), it is judged anew,
on this data. What was compared is told in the version's tags and in the training's record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.tracking_store import redact
from pipelines.family import Metric
from stages.errors import MantaError, UsageError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
_METRIC, _VALUE, _DIGEST, _TASK = "manta.metric", "manta.metric_value", "manta.eval_digest", "manta.task"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How the new version did."""

    task: str
    metric: Metric
    value: float | None
    """None where there were no evaluation rows."""
    digest: str
    """Of the evaluation rows."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A version in the registry; part of ``train.json``."""

    name: str
    version: str
    champion: bool
    """Whether the alias champion points at it now."""
    against: str
    """What it was compared with and how that went, in a sentence."""

    @property
    def reference(self) -> str:
        """What ``--checkpoint`` takes."""
        return f"models:/{self.name}/{self.version}"


Judge = Callable[[str], float]
"""The metric of a registered model (``models:/NAME/VERSION``) on this evaluation data. Raises MantaError."""


def check_name(client: MlflowClient, name: str) -> None:
    """Raises UsageError where models cannot be registered under ``name``: found out before anything is trained."""
    from mlflow.exceptions import MlflowException

    if not name.strip() or set(name) & set("/:@") or len(name) > 256:
        raise UsageError(f"--register {name!r} is no name for a model: leave out /, : and @, and keep it short")
    try:
        client.search_model_versions(f"name='{name}'" if "'" not in name else f'name="{name}"', max_results=1)
    except MlflowException as error:
        raise UsageError(
            f"--register {name}: the MLflow registry cannot be used: {redact(first_line(error, 300))}"
        ) from error


def register(
    client: MlflowClient, name: str, model_id: str, run_id: str, *, judged: Judged, tags: dict[str, str], judge: Judge
) -> Registration:
    """Makes the logged model the next version of ``name`` and moves the alias where it did better."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    told = {_TASK: judged.task, _METRIC: judged.metric.name, _DIGEST: judged.digest, **tags}
    if judged.value is not None:
        told[_VALUE] = repr(judged.value)
    # By its place: the SQL store would look models:/… up in the process's own default store, which may be another.
    place = client.get_logged_model(model_id).artifact_location
    made = client.create_model_version(name, place, run_id=run_id, tags=told, model_id=model_id)
    better, against = _compare(_champion(client, name), judged, judge)
    if better:
        client.set_registered_model_alias(name, CHAMPION, made.version)
    client.set_model_version_tag(name, made.version, "manta.champion", "yes" if better else "no")
    client.set_model_version_tag(name, made.version, "manta.champion_against", redact(against)[:5000])
    return Registration(name=name, version=str(made.version), champion=better, against=against)


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:  # no alias of that name
            return None
        raise


def _compare(champion: ModelVersion | None, judged: Judged, judge: Judge) -> tuple[bool, str]:
    """Whether the new version takes the alias, and why."""
    metric, value = judged.metric.name, judged.value
    if value is None:
        return False, "not judged: name evaluation rows with --eval-data"
    if champion is None:
        return True, f"{metric} {value:.4f}; there was no champion before"
    who, tags = f"the champion, version {champion.version}", champion.tags
    if tags.get(_TASK, judged.task) != judged.task:
        return False, f"{who} is of another task, {tags[_TASK]}"
    same = tags.get(_DIGEST) == judged.digest and tags.get(_METRIC) == metric and _VALUE in tags
    try:
        before = float(tags[_VALUE]) if same else judge(f"models:/{champion.name}/{champion.version}")
    except MantaError as error:
        return False, f"{who} was judged on other data and cannot be judged on this: {error}"
    better = value > before if judged.metric.greater_is_better else value < before
    how = "" if same else ", judged anew, since it was judged on other data"
    return better, f"{metric} {value:.4f} against {before:.4f} of {who}, on the same evaluation data{how}"
