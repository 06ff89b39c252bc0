"""Which MLflow store a run goes to, and what is done there before a run is opened."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import psutil

from stages.errors import UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True)
class Store:
    """Where runs are kept."""

    uri: str
    """A tracking URI."""
    artifacts: str | None
    """Folder of a new experiment's artifacts; None leaves it to the store."""
    notice: str = ""
    """What a person should be told about the choice."""


def store_for(output: str, *, shared: bool = False) -> Store:
    """The store of runs that write to ``output``; a ``shared`` one is never kept inside the output.

    Without MLFLOW_TRACKING_URI a shared one is ``mlflow.db`` of the working folder, where MLflow itself looks, so that
    ``models:/NAME@champion`` is found there.
    """
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return Store(uri=uri, artifacts=None)
    parsed = urlparse(output)
    if shared or ("://" in output and parsed.scheme != "file"):
        here = Path.cwd()
        notice = f"MLflow runs go to {here / 'mlflow.db'}; set MLFLOW_TRACKING_URI to keep them elsewhere"
        return Store(uri=f"sqlite:///{here / 'mlflow.db'}", artifacts=str(here / "mlruns"), notice=notice)
    folder = Path(unquote(parsed.path) if parsed.scheme == "file" else output).absolute() / "mlflow"
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=str(folder / "artifacts"))


def open_client(store: Store) -> MlflowClient:
    """A client of the store; the folder of a local one is made. Call ``set_defaults`` before."""
    if store.uri.startswith("sqlite:///"):
        Path(store.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)  # tells every step of making a database
    return MlflowClient(tracking_uri=store.uri)


def experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The experiment of that name, made where there is none. Raises UsageError where it is deleted."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another run made it in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise UsageError(f"the MLflow experiment {name!r} is deleted: restore it, or set MLFLOW_EXPERIMENT_NAME")
    return str(found.experiment_id)


def process_tags() -> dict[str, str]:
    """Says which process holds a run."""
    me = psutil.Process()
    return {"manta.host": socket.gethostname(), "manta.process": f"{me.pid}@{me.create_time():.2f}"}


def close_left_behind(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> None:
    """Ends runs of this machine whose process was killed before it could."""
    own = f"tags.`manta.host` = '{tags['manta.host']}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], own):
        if not _alive(run.data.tags.get("manta.process", "")):
            client.set_terminated(run.info.run_id, "KILLED")


def _alive(process: str) -> bool:
    pid, _, created = process.partition("@")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    except (ValueError, psutil.NoSuchProcess):
        return False
    except psutil.AccessDenied:
        return True


def redact(text: str) -> str:
    """``text`` without the user names, passwords and signed query values that URIs may carry."""
    text = re.sub(r"(://)[^/@\s]+@", r"\1***@", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:sig|token|key|secret|passw|credential)[^=&\s]*=)[^&\s]+", r"\1***", text)
