"""A ServeConfig as a Ray Serve application: ingress, documents, and one deployment a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig

import pipelines
from jobs.prepare import fingerprint_of
from jobs.serving.documents import Reader
from jobs.serving.ingress import Ingress, IngressConfig
from jobs.serving.keys import Key
from jobs.serving.models import Models, Served
from jobs.serving.settings import Model, ModelConfig, Sections, ServeConfig
from jobs.ways_in import columns_of, document_columns, fingerprint
from pipelines import Options
from pipelines.checkpoint import resolve
from pipelines.rehearsal import Rehearsal
from stages.settings import Settings

NAME = "manta"
"""The application's name in Serve."""
ROOM = 1000
"""Requests beyond serve.queue that an ingress takes in, to refuse them in its own words."""
LOAD = 8.0
"""Requests at once in a process above which autoscaling adds one."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A config whose checkpoints are at hand and whose tasks have been tried out."""

    sections: Sections
    keys: Sequence[Key]
    models: Sequence[tuple[Model, Served]]
    notices: Sequence[str]
    """What the families say of their licences."""
    surge: bool = True
    """A changed process comes up before the old one goes; where there is no room for both, requests wait instead."""


def resolve_models(config: ServeConfig, keys: Sequence[Key]) -> Resolved:
    """Finds checkpoints and tries the tasks out. Raises UsageError for what cannot work, before anything starts."""
    if len(config.models) > 1:
        import torch  # noqa: F401 - once here: else each task is tried out in a process of its own
    found = [(one.model, _served(one, config.sections.reading)) for one in config.models]
    notices = [pipelines.family(name).notice for name in dict.fromkeys(one.model.family for one in config.models)]
    return Resolved(sections=config.sections, keys=keys, models=found, notices=[one for one in notices if one])


def _served(one: ModelConfig, settings: Settings) -> Served:
    family, kind = pipelines.family(one.model.family), pipelines.task(one.model.family, one.model.task)
    reference = one.model.checkpoint or family.checkpoints.get(kind.name) or family.checkpoints[""]
    reading = fingerprint(kind, settings)
    assert isinstance(one.options, Options | None)
    task = kind(resolve(reference, model_types=family.model_types), one.options)
    # Tried out on an instance of its own: what is served stays small enough to travel.
    takes = Rehearsal.start(kind(task.checkpoint, task.options)).wait()
    return Served(
        name=one.model.called,
        family=one.model.family,
        task=task,
        takes=takes,
        columns=columns_of(kind),
        of_document=frozenset(document_columns(task, settings, takes=takes)),
        predict=one.predict,
        fingerprint=fingerprint_of(one.model.family, task, one.predict, reading),
    )


def application(found: Resolved, *, draining: bool = False) -> Any:  # noqa: ANN401 - Serve's Application
    """The application; ``draining`` is the same one, taking nothing new and waiting for what is under way."""
    endpoint = found.sections.serve
    documents = _documents(found)
    handles: dict[str, Any] = {}
    for model, served in found.models:
        if not model.beside:
            together = [served, *(other for sizes, other in found.models if sizes.beside == served.name)]
            handles |= dict.fromkeys((one.name for one in together), _models(model, together, found))
    config = IngressConfig(
        endpoint=endpoint, keys=found.keys, served=[one for _, one in found.models], identity=identity(found)
    )
    ingress: Any = serve.deployment(serve.ingress()(Ingress))
    return ingress.options(
        name="ingress",
        num_replicas=endpoint.replicas,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=endpoint.queue + ROOM,
        max_queued_requests=ROOM,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        user_config={"draining": draining},
        **_common(found, config),
    ).bind(config, handles, documents)


def _documents(found: Resolved) -> Any:  # noqa: ANN401
    sizes, settings = found.sections.documents, found.sections.reading
    deployment: Any = serve.deployment(Reader)
    return deployment.options(
        name="documents",
        ray_actor_options={"num_cpus": sizes.cpus},
        max_ongoing_requests=ROOM,
        **_replicas(sizes.replicas, sizes.max_replicas),
        **_common(found, settings),
    ).bind(settings)


def _models(sizes: Model, served: Sequence[Served], found: Resolved) -> Any:  # noqa: ANN401
    deployment: Any = serve.deployment(Models)
    resources: dict[str, float] = {"num_cpus": sizes.cpus, "num_gpus": sizes.gpus}
    if sizes.memory_mb:
        resources["memory"] = sizes.memory_mb << 20
    return deployment.options(
        name=served[0].name,
        ray_actor_options=resources,
        max_ongoing_requests=ROOM,
        **_replicas(sizes.replicas, sizes.max_replicas),
        **_common(found, served, sizes.threads, sizes.wait_ms),
    ).bind(served, sizes)


def _replicas(least: int, most: int) -> dict[str, object]:
    if not most or most == least:
        return {"num_replicas": least}
    scaling = AutoscalingConfig(min_replicas=least, max_replicas=most, target_ongoing_requests=LOAD)
    return {"autoscaling_config": scaling}


def _common(found: Resolved, *decides: object) -> dict[str, object]:
    """What all deployments share. ``decides`` is all that a process is made from.

    Serve would replace every process at each run, since it draws a version by chance where none is given; this one says
    whether anything has changed.
    """
    return {
        "max_surge_percent": 100 if found.surge else 0,
        "graceful_shutdown_timeout_s": found.sections.serve.timeout_s + 5,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 2,
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
        "version": hash_of(*decides),
        "_internal": True,
    }


def hash_of(*decides: object) -> str:
    """A hash of settings and models; of equal ones equal, in every process."""
    told = json.dumps([version("manta"), decides], default=_plain, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if isinstance(value, Served):
        return [value.name, value.family, value.task.name, value.task.checkpoint.ref, value.fingerprint, value.predict]
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return value.hex() if isinstance(value, bytes) else str(value)


def identity(found: Resolved) -> str:
    """A hash of all that is served."""
    return hash_of(found.sections, found.keys, [model for model, _ in found.models], [one for _, one in found.models])
