"""A cluster's Jobs API, by Ray's own client: connect, send, follow to the end, stop; errors in one line.

https://docs.ray.io/en/releases-2.60.0/cluster/running-applications/job-submission/sdk.html
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jobs.extras import need
from jobs.sealed import ray_token
from jobs.stopping import Stopping
from stages.errors import MantaError, UsageError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

DEFAULT = "http://127.0.0.1:8265"
"""Where ``ray start --head`` listens."""
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Where Ray's client takes an address from, whatever it is told."""
_ANSWER_S = 60.0
"""Longest time for one answer of the cluster, in seconds."""
_AGENT_S = 120.0
"""How long a head that has just come up may take until it accepts jobs, in seconds (measured: 3, on a loaded machine
more than 30)."""
_AWAY_S = 60.0
"""How long a cluster may be out of reach while a job runs, in seconds."""
_POLL_S = 0.5
_LOG_END_S = 10.0
"""How long the log's last lines are waited for once the job has ended, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job that came to its end."""

    status: str
    """SUCCEEDED, FAILED or STOPPED."""
    exit_code: int
    """The command's own; 5 where the job was stopped, 1 where it could not start or its machine went away."""
    message: str = ""
    """Why there is no exit code of the command's own."""


class Cluster:
    """The jobs of one cluster; use ``Cluster.connect``."""

    def __init__(self, client: JobSubmissionClient, url: str, ray_version: str, token: str) -> None:
        self._client, self.url, self.ray_version = client, url, ray_version
        self.token = token
        """What the cluster asks for; empty for an open one."""

    @classmethod
    def connect(cls, address: str | None) -> Cluster:
        """The cluster whose dashboard is at ``address``, else where Ray's variables say, else on this machine.

        The token goes only to a server that asks for one. Raises UsageError where none answers, or the token is wrong.
        """
        need("manta submit", ("aiohttp", "cryptography", "requests"), "submit")
        url = _url(address)
        status, version = _ask(url)
        token = ""
        if status == 401:
            token = ray_token()
            if not token:
                raise UsageError(f"{url} wants a token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with it")
            status, version = _ask(url, token)
        if status in {401, 403}:
            raise UsageError(
                f"{url} refuses the token: set RAY_AUTH_TOKEN to the one that the cluster was started with"
            )
        if not version:
            raise UsageError(f"{url} is no Ray dashboard (HTTP {status}); its port is 8265, unless it was started so")
        with _without(_ADDRESS_VARIABLES):
            client = _client(url, {"Authorization": f"Bearer {token}"} if token else {})
        return cls(client, url, version, token)

    def send(
        self,
        entrypoint: str,
        *,
        submission_id: str,
        working_dir: str | None,
        env_vars: dict[str, str],
        hook: str | None,
        wait_s: float = _AGENT_S,
    ) -> bool:
        """Starts the job; False where a job of that id is there already. Waits up to ``wait_s`` for a head that has
        just come up. Raises MantaError where the cluster does not take it."""
        runtime_env: dict[str, Any] = {"env_vars": env_vars}
        runtime_env |= {"working_dir": working_dir} if working_dir else {}
        runtime_env |= {"worker_process_setup_hook": hook} if hook else {}
        give_up = time.monotonic() + wait_s
        while True:
            try:
                self._client.submit_job(entrypoint=entrypoint, submission_id=submission_id, runtime_env=runtime_env)
            except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
                if "already exists" in str(error):
                    return False
                if not isinstance(error, OSError) and "No available agent" not in str(error):
                    raise MantaError(f"{self.url} does not take the job: {_last_line(error)}") from error
                if time.monotonic() > give_up:
                    why = "does not answer" if isinstance(error, OSError) else "has no agent to start jobs"
                    raise MantaError(f"{self.url} {why}, for {wait_s:g} s now: is its head well?") from error
                time.sleep(1)  # the id is the same, so that no job is started twice
            else:
                return True

    def stop(self, submission_id: str) -> None:
        """Asks the job to end; its process gets SIGTERM. Raises MantaError where the cluster cannot be asked."""
        try:
            self._client.stop_job(submission_id)
        except (RuntimeError, OSError) as error:
            raise MantaError(f"{self.url} did not stop job {submission_id}: {_last_line(error)}") from error

    def follow(self, submission_id: str, write: Callable[[str], None] | None, stop: Stopping) -> Ended:
        """Waits for the job's end while ``write`` gets its log as it comes. Raises StoppedError on a signal, and
        MantaError where the cluster is out of reach for a minute."""
        log = _Log(self._client, submission_id, write) if write else None
        if log:
            log.start()
        while True:
            details = self._details(submission_id, stop)
            if details.status.is_terminal():
                if log:
                    log.finish()
                return _ended(details)
            with stop.interruptible():
                time.sleep(_POLL_S)

    def _details(self, submission_id: str, stop: Stopping) -> JobDetails:
        last = time.monotonic()
        while True:
            try:
                with stop.interruptible():
                    return self._client.get_job_info(submission_id)
            except (RuntimeError, OSError) as error:
                if "does not exist" in str(error):
                    raise MantaError(f"{self.url} knows no job {submission_id}: was its head started anew?") from error
                if time.monotonic() - last > _AWAY_S:
                    raise MantaError(
                        f"{self.url} is out of reach since {_AWAY_S:g} s; the job {submission_id} may still run: "
                        f"ray job status {submission_id}"
                    ) from error
            with stop.interruptible():
                time.sleep(1)


class _Log(threading.Thread):
    """Hands on a job's log as it comes, in the background; goes on where it was when the connection breaks."""

    def __init__(self, client: JobSubmissionClient, submission_id: str, write: Callable[[str], None]) -> None:
        super().__init__(name="log", daemon=True)
        self._client, self._id, self._write = client, submission_id, write
        self._written = 0
        self._ended = threading.Event()

    def run(self) -> None:
        from aiohttp import ClientError

        while True:
            try:
                asyncio.run(self._tail())
            except (RuntimeError, OSError, ClientError):  # who follows the job tells if it lasts
                if self._ended.wait(1):
                    return
            else:
                return

    async def _tail(self) -> None:
        seen = 0
        async for chunk in self._client.tail_job_logs(self._id):
            new = chunk[max(self._written - seen, 0) :]  # each connection begins with the log's first line
            seen += len(chunk)
            if new:
                self._write(new)
                self._written = max(self._written, seen)

    def finish(self) -> None:
        """Waits for the last lines of a job that has ended."""
        self._ended.set()
        self.join(_LOG_END_S)


def _ended(details: JobDetails) -> Ended:
    status, code = str(details.status.value), details.driver_exit_code
    if status == "SUCCEEDED":
        return Ended(status=status, exit_code=0)
    if status == "STOPPED":
        return Ended(status=status, exit_code=5, message="the job was stopped")
    if code is None:
        return Ended(status=status, exit_code=1, message=_last_line(details.message or "Ray does not say why"))
    if code < 0:  # ended by a signal; shells tell it so
        return Ended(status=status, exit_code=128 - code, message=f"the job's process was ended by signal {-code}")
    return Ended(status=status, exit_code=code)


def _url(address: str | None) -> str:
    set_elsewhere = (os.environ.get(name, "") for name in _ADDRESS_VARIABLES)
    url = address or next((one for one in set_elsewhere if one.startswith("http")), DEFAULT)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--address takes the URL of a cluster's dashboard, such as {DEFAULT}, not {url!r}")
    if parts.username or parts.password or parts.query:
        raise UsageError("--address holds a password or a token, which logs would show: set RAY_AUTH_TOKEN instead")
    return url.rstrip("/")


def is_open_line(url: str) -> bool:
    """Whether what is sent to ``url`` can be read on its way through a network."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}


def _ask(url: str, token: str = "") -> tuple[int, str]:
    """(HTTP status, Ray's version or nothing) of the server at ``url``. Raises UsageError where none answers."""
    import requests

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"{url}/api/version", headers=headers, timeout=10, allow_redirects=False)
    except requests.exceptions.SSLError as error:
        raise UsageError(
            f"{url}: its certificate is not to be trusted, or it speaks no TLS (then use http://)"
        ) from error
    except requests.RequestException as error:
        raise UsageError(
            f"no Ray dashboard answers at {url}: is the head up (ray start --head), and is this its dashboard's port?"
        ) from error
    try:
        told = answer.json()
    except ValueError:
        return answer.status_code, ""
    return answer.status_code, str(told.get("ray_version", "")) if isinstance(told, dict) else ""


def _client(url: str, headers: dict[str, str]) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):  # they tell of every upload
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)

    class Client(JobSubmissionClient):
        """Ray's, which would wait for ever for a server that is silent."""

        def _do_request(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as Ray's own
            return super()._do_request(*args, **{"timeout": _ANSWER_S, **kwargs})

    return Client(url, headers=headers)


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _last_line(what: object) -> str:
    lines = [line.strip() for line in str(what).splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
