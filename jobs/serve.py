"""``manta serve`` in Python: an endpoint on a Ray cluster, started, changed without a failed request, and stopped.

    with serving(config) as url: ...

What is served already under the same name is changed to what the config says: a process that would answer the same is
left alone, another one comes up before the old one goes.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING

from jobs.cluster import connect
from jobs.serving.settings import Endpoint, ServeConfig
from stages.errors import MantaError, UsageError, first_line

if TYPE_CHECKING:
    from jobs.serving.application import Resolved

LOGGING = {"encoding": "JSON", "enable_access_log": False}
"""The ingress has an access log of its own, which leaves out what stands behind a path's question mark."""
GRACE_S = 10.0
"""Beyond serve.timeout_s, what Serve itself waits before it gives a request up."""


@contextmanager
def serving(
    config: ServeConfig, *, address: str | None = None, say: Callable[[str], None] = lambda _: None
) -> Iterator[str]:
    """The endpoint's URL, once every model is ready; at the end what is under way is answered, then all stops.

    Raises UsageError for what cannot work, before anything starts; MantaError where a process does not come up.
    """
    import ray

    ours = address is None and not ray.is_initialized()
    found = _deploy(config, address, say)
    try:
        yield url(config.sections.serve)
    finally:
        _stop(found, say)
        if ours:
            ray.shutdown()
        elif address is None:
            from ray import serve

            serve.shutdown()


def deploy(config: ServeConfig, *, address: str | None, say: Callable[[str], None] = lambda _: None) -> str:
    """The URL of the endpoint, which stays on the cluster. Raises as ``serving`` does."""
    _deploy(config, address, say)
    return url(config.sections.serve)


def _deploy(config: ServeConfig, address: str | None, say: Callable[[str], None]) -> Resolved:
    _check_installed()
    from jobs.serving.application import application, resolve_models
    from jobs.serving.keys import read_keys

    found = resolve_models(config, read_keys(config.sections.serve))
    for notice in found.notices:
        say(notice)
    resources = connect(address)
    _check_room(config, resources.cpus, resources.gpus)
    start(config.sections.serve)
    found = replace(found, surge=_room_for_two(config))
    _run(application(found))
    return found


def _stop(found: Resolved, say: Callable[[str], None]) -> None:
    """Answers what is under way, then takes the application down. What another command has changed since stays."""
    from ray import serve

    from jobs.serving.application import NAME, application, identity

    running = serve.get_app_handle(NAME).identity.remote().result(timeout_s=30)
    if running == identity(found):
        say("stopping: what is under way is answered first")
        _run(application(found, draining=True))
        serve.delete(NAME)
    else:
        say("another manta serve has changed what is served: it stays")


def start(endpoint: Endpoint) -> None:
    """Starts HTTP where Serve does not run yet. Raises UsageError where the port is taken, or is another one there."""
    from ray import serve
    from ray.serve.context import _get_global_client

    # What Serve says to a driver's standard error is in its logs as well.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    running = _get_global_client(raise_if_no_controller_running=False)
    if running is None:
        _check_port(endpoint)
    elif running.http_config.port != endpoint.port:
        raise UsageError(
            f"Serve listens on port {running.http_config.port} of this cluster already: say --port "
            f"{running.http_config.port}, or serve shutdown first"
        )
    timeout = endpoint.timeout_s + GRACE_S
    options = {"host": endpoint.host, "port": endpoint.port, "request_timeout_s": timeout}
    serve.start(proxy_location="HeadOnly", http_options=options, logging_config=LOGGING)


def url(endpoint: Endpoint) -> str:
    """Where a person on this machine finds it."""
    host = "127.0.0.1" if endpoint.host in ("0.0.0.0", "::") else endpoint.host  # noqa: S104 - only compared
    return f"http://{f'[{host}]' if ':' in host else host}:{endpoint.port}"


def wait_for_signal() -> None:
    """Until SIGINT or SIGTERM; a second one ends the process at once."""
    came = threading.Event()

    def stop(number: int, _: FrameType | None) -> None:
        if came.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        came.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while not came.wait(0.5):
        pass


def _run(app: object) -> None:
    """Deploys, and waits until every process is up. Raises MantaError that tells why one is not."""
    from ray import serve

    from jobs.serving.application import NAME

    try:
        serve.run(app, name=NAME, route_prefix="/")
    except RuntimeError as error:
        raise MantaError(_why(NAME, error)) from error


def _why(name: str, error: Exception) -> str:
    """The reason that a replica gave, from its last words."""
    from ray import serve

    status = serve.status().applications.get(name)
    parts = [one.message for one in status.deployments.values() if one.message] if status else []
    lines = [line for part in parts for line in part.splitlines() if line.strip()]
    return f"the endpoint did not come up: {lines[-1].strip() if lines else first_line(error)}"


def _check_installed() -> None:
    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise UsageError(f"manta serve needs {', '.join(missing)}: pip install 'manta[serve]'")


def _check_port(endpoint: Endpoint) -> None:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            raise UsageError(f"cannot listen on {endpoint.host} port {endpoint.port}: {error.strerror}") from error


def _room_for_two(config: ServeConfig) -> bool:
    """Whether the largest process fits beside what runs now."""
    import ray

    there: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    own = [one.model for one in config.models if not one.model.beside]
    cpus, gpus = max(one.cpus for one in own), max(one.gpus for one in own)
    return cpus <= there.get("CPU", 0.0) and gpus <= there.get("GPU", 0.0)


def _check_room(config: ServeConfig, cpus: float, gpus: float) -> None:
    """Raises UsageError where the cluster is too small for the processes: Serve would wait for ever."""
    own = [one.model for one in config.models if not one.model.beside]
    documents = config.sections.documents
    need = documents.cpus * documents.replicas + sum(one.cpus * one.replicas for one in own)
    need_gpus = sum(one.gpus * one.replicas for one in own)
    if need > cpus + 1e-6 or need_gpus > gpus + 1e-6:
        raise UsageError(
            f"these models need {need:g} CPUs and {need_gpus:g} GPUs, and the cluster has {cpus:g} and {gpus:g}: lower "
            "model.cpus (which may be below 1), let small models run beside: others, or add machines"
        )
