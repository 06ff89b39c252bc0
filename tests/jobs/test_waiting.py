"""A pass that gets no room says so, once, and goes on when there is some; one that only takes long says nothing."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import ray.cloudpickle
from rich.console import Console

from jobs import run, waiting
from jobs.progress import Progress
from stages import ray_data
from stages.base import Pool, Stage
from tests import corpus, waits
from tests.waits import until

for module in (sys.modules[__name__], waits):
    ray.cloudpickle.register_pickle_by_value(module)  # workers cannot import a test module


class Holder:
    def there(self) -> bool:
        return True


@contextmanager
def held(cpus: float) -> Iterator[threading.Event]:
    """Another actor has so many CPUs until the event is set."""
    holder = ray.remote(num_cpus=cpus)(Holder).remote()
    ray.get(holder.there.remote())
    enough = threading.Event()

    def let_go() -> None:
        enough.wait(60)
        ray.kill(holder)

    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        yield enough
    finally:
        enough.set()
        thread.join()


class Heard(Progress):
    """Lets go of what is held when it has heard of it, and some more time has passed."""

    def __init__(self, enough: threading.Event) -> None:
        super().__init__(Console(quiet=True), every_s=3600)
        self.lines: list[str] = []
        self._enough = enough

    def say(self, line: str) -> None:
        self.lines.append(line)
        threading.Timer(3 * waiting.PATIENCE_S, self._enough.set).start()


@pytest.mark.usefixtures("ray_local")
def test_a_run_whose_cpus_others_hold_waits_for_them_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.5)
    files = corpus.pdf(tmp_path / "two.pdf", 2)
    with held(1.5) as enough:
        progress = Heard(enough)
        done = run("text", None, [str(files)], str(tmp_path / "out"), progress=progress)
    (line,) = progress.lines
    assert re.fullmatch(
        r"waiting for room: a process of read\+write_pages\+write needs 0\.94 CPUs, the cluster has 0\.\d+ of 2 CPUs "
        r"free; another run or actor holds the rest \(see ray status\)",
        line,
    ), line
    assert (done.exit_code, done.pages.count_rows()) == (0, 2)


@dataclass(frozen=True, kw_only=True)
class Slow(Stage):
    """Loads until it is let go."""

    name = "slow"
    reads = ("text",)
    writes = ()
    folder: Path

    def open(self):
        (self.folder / "loads").touch()
        until((self.folder / "go").exists)
        return self

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        yield rows

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("ray_local")
def test_a_process_that_loads_for_long_is_not_said_to_wait(tmp_path):
    """It holds all there is: that little is free tells nothing."""
    pools = [Pool(stages=(Slow(folder=tmp_path),), num_cpus=2, workers=(1, 1))]
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(list, ray_data.stream([pa.table({"text": ["a"]})], pools))
        until((tmp_path / "loads").exists)
        until(lambda: not waiting.lacking(pools))  # what Ray tells is a second old
        assert ray.available_resources().get("CPU", 0) == 0
        assert not answer.done()
        (tmp_path / "go").touch()
        assert [one.num_rows for one in answer.result()] == [1]


def test_room_that_no_one_machine_has_is_told_as_such():
    free, there = {"CPU": 4.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 2.0}
    assert waiting.told("predict", {"CPU": 0.4, "GPU": 1.0}, {"CPU": 4.0}, there) == (
        "waiting for room: a process of predict needs 0.4 CPUs and 1 GPUs, the cluster has 4 of 8 CPUs and 0 of 2 "
        "GPUs free; another run or actor holds the rest (see ray status)"
    )
    assert "no one machine has so much free" in waiting.told("predict", {"CPU": 4.0, "GPU": 0.0}, free, there)
