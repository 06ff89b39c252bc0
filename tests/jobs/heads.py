"""A real Ray head with token authentication, as ``ray start --head`` makes it, on ports of its own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

UP_S = 90
"""Longest time until the dashboard answers, on a loaded machine."""


@dataclass(frozen=True)
class Head:
    """A head under way."""

    url: str
    metrics: str
    """Where Prometheus would scrape it; asks for no token."""
    token: str
    folder: Path
    """Ray's temporary folder: sessions and their logs."""

    def logs(self) -> dict[str, bytes]:
        """Every log of the session by its name."""
        folder = (self.folder / "session_latest" / "logs").resolve()
        found = {}
        for path in folder.rglob("*"):
            with suppress(OSError):  # gone meanwhile
                found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else b""
        return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def running(folder: Path) -> Iterator[Head]:
    """Starts a head whose files lie in ``folder`` (a short path: sockets lie below it); ends what it started."""
    folder.mkdir(parents=True)
    gcs, dashboard, client, listen, metrics, grpc = free_ports(6)
    token = secrets.token_hex(32)
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={listen}",
        f"--metrics-export-port={metrics}", f"--dashboard-agent-grpc-port={grpc}", "--num-cpus=2",
        "--object-store-memory=200000000", "--disable-usage-stats", f"--temp-dir={folder}",
    ]  # fmt: skip
    # Processes tell their metrics every ten seconds, unless told otherwise: longer than these jobs last.
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_metrics_report_interval_ms": "300"}
    env.pop("PYTHONPATH", None)  # jobs bring the code with them
    process = subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    urls = [f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}/metrics"]
    head = Head(url=urls[0], metrics=urls[1], token=token, folder=folder)
    try:
        _wait(head, process)
        yield head
    finally:
        _end(process)


def _wait(head: Head, process: subprocess.Popen[bytes]) -> None:
    headers = {"Authorization": f"Bearer {head.token}"}
    give_up = time.monotonic() + UP_S
    while time.monotonic() < give_up:
        assert process.poll() is None, "the head ended at once"
        with suppress(requests.RequestException):
            if requests.get(f"{head.url}/api/version", headers=headers, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"no dashboard within {UP_S} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the head and its descendants: asked to end, it would drain for half a minute."""
    mine = psutil.Process(process.pid)
    everything = [*mine.children(recursive=True), mine]
    for one in everything:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(everything, timeout=10)
    process.wait()
