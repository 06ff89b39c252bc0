"""Checkpoints of the MLflow model registry: ``models:/NAME@ALIAS`` and ``models:/NAME/VERSION`` to a local folder.

The registry is the one of MLFLOW_REGISTRY_URI, else of MLFLOW_TRACKING_URI, else ``mlflow.db`` of the working folder,
where ``manta train --register`` puts models without either.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.checkpoint_sources import kept
from stages.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is the answer's
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # its own 7 with a growing pause make minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
}


def set_defaults() -> None:
    """Telemetry off, short waits: MLflow reads these when it is imported. What the environment says already stays."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def from_mlflow(ref: str) -> tuple[Path, str]:
    """A registered model's folder, and ``models:/NAME/VERSION``, which an alias stands for at this moment.

    An alias is looked up each time, a version is downloaded once. Raises CheckpointError for a model, alias or version
    that is not there, and for a registry that cannot be reached.
    """
    set_defaults()
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    name, alias, version = _parsed(ref)
    _check_there(ref)
    try:
        client = mlflow.MlflowClient()
        if alias:
            version = str(client.get_model_version_by_alias(name, alias).version)
        else:
            client.get_model_version(name, version)
        where = mlflow.get_registry_uri()

        def download(folder: Path) -> None:
            mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/{version}", dst_path=str(folder))

        folder = kept(f"mlflow {where} {name} {version} {_made(client, name, version)}", download)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise CheckpointError(_why(ref, error)) from error
    return _model_folder(ref, folder), f"models:/{name}/{version}"


def _parsed(ref: str) -> tuple[str, str, str]:
    """Name, alias and version; one of the latter two is empty."""
    found = re.fullmatch(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>\d+))?", ref)
    if found is None:
        raise CheckpointError(f"{ref} is no registered model: say models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, version = found["name"], found["alias"] or "", found["version"] or ""
    if not alias and not version:
        raise CheckpointError(f"checkpoint {ref} names no version: say models:/{name}@ALIAS or models:/{name}/VERSION")
    return name, alias, version


def _check_there(ref: str) -> None:
    """Raises CheckpointError where there is no registry: MLflow would make an empty one."""
    import mlflow

    where = mlflow.get_registry_uri()
    file = Path(where.removeprefix("sqlite:///"))
    if where.startswith("sqlite:///") and not file.is_file():
        raise CheckpointError(
            f"checkpoint {ref} cannot be had: there is no MLflow registry {_redacted(where)}; set MLFLOW_TRACKING_URI "
            "to the one that the model was registered in",
        )


def _made(client: MlflowClient, name: str, version: str) -> object:
    """When the version was made: one of that number that was deleted and made again is another."""
    return client.get_model_version(name, version).creation_timestamp


def _why(ref: str, error: Exception) -> str:
    """One line on what a registry answered, with what there is instead."""
    import mlflow
    from mlflow.exceptions import MlflowException

    where = _redacted(mlflow.get_registry_uri())
    if not isinstance(error, MlflowException) or error.error_code not in {
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_PARAMETER_VALUE",
    }:
        return (
            f"checkpoint {ref} cannot be had: the MLflow registry {where} does not answer as one "
            f"({_redacted(first_line(error, 200))}); see that it is up and that MLFLOW_TRACKING_URI names it"
        )
    name, _, _ = _parsed(ref)
    try:
        there = mlflow.MlflowClient().get_registered_model(name)
    except MlflowException:
        return f"no checkpoint {ref} in the registry {where}: it has no model {name!r}"
    versions = [str(each.version) for each in there.latest_versions]
    newest = max(versions, key=int) if versions else ""
    aliases = ", ".join(f"@{alias}" for alias in sorted(there.aliases)) or "no alias"
    has = f"{aliases}, and {f'versions up to {newest}' if newest else 'no version'}"
    return f"no checkpoint {ref} in the registry {where}: {name} has {has}"


def _redacted(text: str) -> str:
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)


def _model_folder(ref: str, root: Path) -> Path:
    """The folder that holds config.json; MLflow's transformers flavour keeps the tokenizer beside it."""
    folders = sorted((path.parent for path in root.rglob("config.json")), key=lambda path: len(path.parts))
    if not folders:
        raise CheckpointError(f"{ref} is registered, but holds no config.json: it is no transformers checkpoint")
    for path in root.glob("components/*/*"):
        if path.is_file() and not (folders[0] / path.name).exists():
            shutil.copy(path, folders[0] / path.name)
    return folders[0]
