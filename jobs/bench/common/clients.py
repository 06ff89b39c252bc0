"""Clients of an HTTP server: so many at once, each asking one thing after another until all has been asked."""

from __future__ import annotations

import http.client
import json
import queue
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from stages.errors import MantaError

START_S = 180.0
"""Longest that a server may take to come up."""


@dataclass(kw_only=True)
class Asked:
    """How one round went."""

    seconds: float
    """All of it."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer."""
    answers: dict[int, object] = field(default_factory=dict)
    """What was answered, by the number of the body."""

    @property
    def p50(self) -> float:
        """The median latency in seconds."""
        return statistics.median(self.latencies)

    @property
    def p99(self) -> float:
        """The latency that one of a hundred answers exceeds, in seconds."""
        return statistics.quantiles(self.latencies, n=100)[98]


def ask_all(port: int, path: str, bodies: Sequence[object], clients: int) -> Asked:
    """Sends every body as JSON. Raises MantaError for an answer other than 200."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(bodies)):
        todo.put(number)
    asked, wrong = Asked(seconds=0.0), list[str]()
    texts = [json.dumps(body) for body in bodies]

    def client() -> None:
        channel = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while not wrong:
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            start = time.perf_counter()
            try:
                channel.request("POST", path, texts[number], {"Content-Type": "application/json"})
                answer = channel.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                wrong.append(f"{type(error).__name__}: {error}")
                return
            asked.latencies.append(time.perf_counter() - start)
            if answer.status != 200:
                wrong.append(f"{answer.status}: {said[:500].decode('utf-8', 'replace')}")
                return
            asked.answers[number] = json.loads(said)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked.seconds = time.perf_counter() - began
    if wrong or len(asked.answers) != len(bodies):
        raise MantaError(f"the server answered {wrong[0] if wrong else 'not at all'}")
    return asked


@contextmanager
def server(command: Sequence[str], port: int, path: str, body: object) -> Iterator[None]:
    """A server for the time of the block, once it answers ``body``. Raises MantaError with its last words."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            limit = time.monotonic() + START_S
            while not _answers(port, path, body):
                if process.poll() is not None or time.monotonic() > limit:
                    said.seek(0)
                    raise MantaError(f"{' '.join(command[:4])} … did not come up: {said.read()[-2000:]}")
                time.sleep(0.5)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(port: int, path: str, body: object) -> bool:
    try:
        ask_all(port, path, [body], 1)
    except MantaError:
        return False
    return True


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
