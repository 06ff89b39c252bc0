"""Overload and dead processes: no wrong answer, and all is well afterwards.

``MANTA_TEST_LOAD_S=60`` loads for so long.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests

from tests import corpus
from tests.jobs.serving.conftest import LIMITS, Endpoint
from tests.waits import until

SECONDS = float(os.environ.get("MANTA_TEST_LOAD_S", "6"))
TEXTS = [" ".join(f"word{n}" for n in range(count)) for count in (1, 3, 9, 25, 60)]
ROWS, PAGES = "/v1/bert/text-classification", "/v1/layoutlm/document-classification"


@dataclass
class Load:
    """Clients that ask one thing after another until they are told to stop."""

    endpoint: Endpoint
    clients: int
    documents: list[Path] = field(default_factory=list)
    answers: list[tuple[int, object, float]] = field(default_factory=list)
    """Status, what was answered to what, seconds."""
    broken: int = 0
    """Connections that ended without an answer."""
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self.client, args=(n,)) for n in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in self.threads)

    def client(self, number: int) -> None:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.endpoint.key}"
        while not self.over.is_set():
            number += 1
            started = time.monotonic()
            try:
                status, said = self.ask(session, number)
            except requests.RequestException:
                self.broken += 1
                continue
            self.answers.append((status, said, time.monotonic() - started))
            if status == 429:
                time.sleep(0.05)

    def ask(self, session: requests.Session, number: int) -> tuple[int, object]:
        if self.documents:
            path = self.documents[number % len(self.documents)]
            answer = session.post(
                self.endpoint.url + PAGES, files={"file": (path.name, path.read_bytes())}, timeout=100
            )
            what: object = path.name
        else:
            what = TEXTS[number % len(TEXTS)]
            answer = session.post(self.endpoint.url + ROWS, json={"rows": [{"text": what}]}, timeout=100)
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status_code, (what, told(answer))

    @property
    def good(self) -> set[object]:
        return {said for status, said, _ in self.answers if status == 200}

    @property
    def failed(self) -> Counter[int]:
        return Counter(status for status, _, _ in self.answers if status != 200) + Counter({0: self.broken})


def told(answer: requests.Response) -> object:
    """Labels and scores of an answer, rounded: other batches change the last digits."""
    return tuple((row["page"], row["label"], round(row["score"], 4)) for row in answer.json().get("rows", ()))


def expected(endpoint: Endpoint, documents: list[Path] = ()) -> set[object]:
    """What is right, asked one by one."""
    if documents:
        return {(path.name, told(endpoint.send(PAGES, path))) for path in documents}
    return {(text, told(endpoint.post(ROWS, json={"rows": [{"text": text}]}))) for text in TEXTS}


def processes(part: str) -> list[psutil.Process]:
    """Those of this session's cluster whose command line holds ``part``."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(part in word for word in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def memory() -> int:
    """Bytes that all processes of Serve hold."""
    total = 0
    for process in [*processes("ray::ServeReplica:"), *processes("ray::ProxyActor")]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def test_three_times_too_much_is_told_and_does_no_harm(endpoint):
    right = expected(endpoint)
    with Load(endpoint, 3 * LIMITS["queue"]) as load:
        time.sleep(max(2.0, SECONDS / 4))
        before = memory()
        time.sleep(SECONDS)
        after = memory()
    statuses = Counter(status for status, _, _ in load.answers)
    accepted = sorted(seconds for status, _, seconds in load.answers if status == 200)
    p99 = statistics.quantiles(accepted, n=100)[98]
    print(
        dict(statuses),
        f"p50 {statistics.median(accepted):.2f} s, p99 {p99:.2f} s",
        f"{(after - before) / 1e6:.0f} MB more",
    )
    assert set(statuses) <= {200, 408, 429}
    assert statuses[200]
    assert statuses[429], "the load was none"
    assert load.broken == 0
    assert load.good <= right
    assert p99 < LIMITS["timeout_s"]
    assert after - before < 50e6
    started = time.monotonic()
    assert expected(endpoint) == right
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", ["bert-text-classification", "documents"])
def test_a_killed_process_is_replaced_and_nothing_wrong_is_said(endpoint, tmp_path, name):
    part = f"ray::ServeReplica:manta:{name}"
    documents = [corpus.pdf(tmp_path / "a.pdf", 3), corpus.pdf(tmp_path / "b.pdf", 1, "gamma")] * ("documents" in part)
    right = expected(endpoint, documents)
    [victim] = processes(part)
    with Load(endpoint, 6, documents) as load:
        until(lambda: load.good)
        victim.kill()
        count = len(load.answers)
        until(lambda: len(load.answers) >= count + 30)
    print(dict(load.failed), len(load.answers))
    assert load.good <= right
    assert len(load.answers) >= count + 30, "it did not come back"
    assert load.failed.total() <= load.clients, "no more than were in flight"
    assert victim.pid not in [process.pid for process in processes(part)]


def test_a_killed_reader_costs_a_page_at_most(endpoint, tmp_path):
    documents = [corpus.scan(tmp_path / "a.png"), corpus.scan(tmp_path / "b.png", "ANOTHER 7")]
    right = expected(endpoint, documents)
    [reader] = processes("ray::ServeReplica:manta:documents")
    killed = 0
    with Load(endpoint, 3, documents) as load:
        for _ in range(3):
            time.sleep(0.7)
            for child in reader.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it went with its parent, or had served its time
                    child.kill()
                    killed += 1
        count = len(load.answers)
        until(lambda: len(load.answers) >= count + 6)
    print(dict(load.failed), len(load.answers), killed)
    assert killed
    assert len(load.answers) >= count + 6
    assert load.good <= right
    assert set(load.failed) <= {422}
    assert load.failed.total() <= killed
    assert reader.is_running()
