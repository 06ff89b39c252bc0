"""The Ray cluster that a command uses: one that it joins by address, or one of its own on this machine."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stages.errors import MantaError, UsageError, first_line


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the cluster has in all."""

    machines: tuple[float, ...]
    """CPUs of each machine that has any: a process must fit into one."""
    gpus: float

    @property
    def cpus(self) -> float:
        """Of all machines."""
        return sum(self.machines)


_ALONE = {"task_events_report_interval_ms": 0}
"""Of a cluster of our own: without a dashboard nobody can ask what its tasks did, and telling it takes a sixth of what
Ray's processes take while nothing happens (0.10 cores on a machine of two; 0.084 without)."""
_JOINED: list[str] = []
"""The cluster that this process joined, if it did."""


def connect(address: str | None) -> Resources:
    """Joins the cluster at ``address``, or starts one here; does nothing where Ray is up already.

    Raises UsageError where no cluster answers. A cluster of our own listens on loopback and ends with the process.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    # Ray's C++ side writes to stderr what is no concern of a person's; RAY_BACKEND_LOG_LEVEL=info brings it back.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    _keep_standard_output_clean()
    if not ray.is_initialized():
        with _without_greeting():
            _start(address)
    import ray.data  # now, while the cluster's processes come up, rather than when the first is needed

    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = (float(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"])
    return Resources(machines=tuple(cpus for cpus in machines if cpus) or (1.0,), gpus=there.get("GPU", 0.0))


def leave() -> None:
    """Leaves a cluster that was joined in good order, so that its metrics agent hears the last counts; Ray tells them
    every ten seconds otherwise. A cluster of our own has nobody who listens."""
    if _JOINED:
        import ray

        _JOINED.clear()
        ray.shutdown()


def _start(address: str | None) -> None:
    import ray

    quiet: Any = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        try:
            ray.init(address=address, **quiet)
            _JOINED.append(address)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"no Ray cluster answers at {address}: {first_line(error)}; see ray status") from error
        return
    # A cluster of our own has no other user: 2.60 would write a token to the home folder for it.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    try:
        ray.init(address="local", include_dashboard=False, _system_config=_ALONE, **quiet)
    except Exception as error:
        # Ray raises a bare Exception where the machine is too busy for it to come up in its 30 seconds.
        raise MantaError(
            f"Ray did not start here: {first_line(error)} Is the machine overloaded, or out of memory?"
        ) from error


def _keep_standard_output_clean() -> None:
    """Sends to standard error what Ray tells of dead workers, at any time later: standard output is the answer's
    (``--json``). Ray 2.60 has no setting for it; its listener looks this function up at each message."""
    from ray._private import worker

    told = worker.print_to_stdstream

    def to_stderr(data: dict[str, object], ignore_prefix: bool) -> None:
        told({**data, "is_err": True}, ignore_prefix)

    if told.__name__ != to_stderr.__name__:
        worker.print_to_stdstream = to_stderr


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Leaves out the line in which Ray's C++ side tells standard error that it was asked to be silent."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            for line in said.read().splitlines(keepends=True):
                if b"Set ray log level" not in line:
                    os.write(2, line)
