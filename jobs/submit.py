"""``manta submit``: a run or a training on a Ray cluster, by Ray Jobs, from a laptop, from CI or from a CronJob."""

from __future__ import annotations

import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobs.packing import packed
from jobs.ray_jobs import Cluster, Ended, is_open_line
from jobs.sealed import HOOK, NAME, seal
from jobs.stopping import Stopping, stopping
from stages.errors import MantaError, StoppedError, UsageError

STOP_S = 30
"""What a stopped job gets to commit what is finished, in seconds; Ray's own 3 would cut that off."""
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY(_ID)?$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What to send, and how to wait for it."""

    words: Sequence[str]
    """The command after ``manta``: ``("run", "text", "--input", …)``; paths as the cluster sees them."""
    address: str | None = None
    """URL of the cluster's dashboard; None goes by RAY_API_SERVER_ADDRESS and RAY_ADDRESS, then this machine."""
    code: bool = True
    """Manta's code travels too; False where the cluster's image has it."""
    python: str = "python"
    """The interpreter on the cluster."""
    env: Sequence[str] = ()
    """``NAME`` sends this process's value encrypted; ``NAME=VALUE`` sends what everybody may read."""
    submission_id: str = ""
    """Sent once under this name, however often it is submitted; empty takes a new one."""
    wait: bool = True
    stop_on_interrupt: bool = False


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A job that was sent."""

    submission_id: str
    address: str
    ended: Ended | None
    """None where nobody waited."""
    seconds: float

    @property
    def exit_code(self) -> int:
        """The job's; 0 where nobody waited."""
        return self.ended.exit_code if self.ended else 0


def submit(asked: Submission, *, say: Callable[[str], None], write: Callable[[str], None] | None) -> Submitted:
    """Sends a job and waits for its end. ``say`` gets lines for a person, ``write`` the job's log as it comes.

    Raises UsageError where the cluster cannot be had, MantaError where it fails, StoppedError on a signal once the
    job has been stopped.
    """
    started = time.monotonic()
    plain, sealed = environment(asked.env)
    cluster = Cluster.connect(asked.address)
    _tell_about(cluster, say)
    hook = None
    if sealed:
        plain[NAME], hook = _sealed(sealed, cluster), HOOK
    name = asked.submission_id or f"manta-{uuid.uuid4().hex[:12]}"
    with stopping() as stop:
        with packed(asked.words, code=asked.code) as package:
            entrypoint = shlex.join([asked.python, "-m", "jobs.cli", *_joined(package.words)])
            new = cluster.send(
                entrypoint,
                submission_id=name,
                working_dir=str(package.folder) if package.folder else None,
                env_vars={"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **plain},
                hook=hook,
            )
        say(f"job {name} {'sent to' if new else 'is at'} {cluster.url}{'' if new else ' already'}")
        ended = _wait(cluster, name, stop, asked, say, write) if asked.wait else None
    return Submitted(submission_id=name, address=cluster.url, ended=ended, seconds=round(time.monotonic() - started, 2))


def environment(env: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(values that everybody may read, values to be encrypted). Raises UsageError for a secret on a command line."""
    plain: dict[str, str] = {}
    sealed: dict[str, str] = {}
    for one in env:
        name, equals, value = one.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--env takes a variable's name, not {name!r}")
        if name.startswith("RAY_"):
            raise UsageError(f"--env {name}: Ray's own variables are the cluster's")
        if equals and _SECRET.search(name):
            raise UsageError(f"--env {name}=… shows a secret to all who see the command: export it, give --env {name}")
        if not equals and name not in os.environ:
            raise UsageError(f"--env {name}: no such variable is set here")
        if equals:
            plain[name] = value
        else:
            sealed[name] = os.environ[name]
    return plain, sealed


def _sealed(values: Mapping[str, str], cluster: Cluster) -> str:
    if not cluster.token:
        raise UsageError(
            f"{cluster.url} asks for no token, so anyone could read {', '.join(values)} there: start the cluster with "
            "RAY_AUTH_MODE=token, or set the variable on its machines"
        )
    return seal(values, cluster.token)


def _joined(words: Sequence[str]) -> list[str]:
    """The command with the address of the cluster that it runs on."""
    return [words[0], "--address", "auto", *words[1:]]


def _tell_about(cluster: Cluster, say: Callable[[str], None]) -> None:
    import ray

    if cluster.token and is_open_line(cluster.url):
        say(f"{cluster.url} is no https: the token can be read on its way; a tunnel or a proxy with TLS is safer")
    if cluster.ray_version.split(".")[:2] != ray.__version__.split(".")[:2]:
        say(f"the cluster runs Ray {cluster.ray_version}, this is made for {ray.__version__}: give it the same")


def _wait(
    cluster: Cluster,
    name: str,
    stop: Stopping,
    asked: Submission,
    say: Callable[[str], None],
    write: Callable[[str], None] | None,
) -> Ended:
    try:
        return cluster.follow(name, write, stop)
    except StoppedError as error:
        if not asked.stop_on_interrupt:
            raise MantaError(
                f"the job goes on; stop it with: ray job stop --address {cluster.url} {name}; go on watching with: "
                f"manta submit --address {cluster.url} --submission-id {name} -- {shlex.join(asked.words)}"
            ) from error
        say(f"stopping job {name}; what is finished is being committed")
        cluster.stop(name)
    # Whatever came before, the end is near: a second signal ends this at once.
    return cluster.follow(name, write, Stopping())
