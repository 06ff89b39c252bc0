"""``manta schedule``: when a tick comes, what it does, that none overlap, and what Kubernetes gets."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kubernetes_validate
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.arguments import ScheduleArguments
from jobs.schedule import Schedule, words
from jobs.scheduling.records import drop_old, last_started
from jobs.scheduling.tick import Outcome, run_apart
from jobs.scheduling.ticks import Cron, MachineClock
from jobs.stopping import Stopping
from jobs.ways_in import PART_ROWS
from stages.errors import StoppedError, UsageError
from stages.lease import Holder, Lease
from stages.storage import open_storage
from tests import corpus
from tests.jobs.outputs import record, write_run

ROOT = Path(__file__).parents[2]
SCANS = 3 * PART_ROWS
"""Two processes commit a part each, and the run is not over."""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def configured(folder: Path, **sections: object) -> Path:
    """A schedule's file: reads ``folder/in`` into ``folder/out`` every minute."""
    (folder / "in").mkdir(exist_ok=True)
    tree = {
        "schedule": {"cron": "* * * * *"},
        "run": {"family": "text", "input": [str(folder / "in")], "output": str(folder / "out")},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}  # type: ignore[dict-item]
    path = folder / "nightly.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


class TestClock:
    """A clock that jumps to where it is waited for, and ends the schedule after some ticks."""

    __test__ = False

    def __init__(self, ticks: int, now: datetime = NOON) -> None:
        self.moment, self.left = now, ticks

    def now(self) -> datetime:
        return self.moment

    def wait_until(self, moment: datetime, stop: Stopping) -> None:
        if not self.left:
            raise StoppedError("enough")
        self.left -= 1
        self.moment = max(self.moment, moment)


def scheduled(
    output: Path, clock: TestClock, runner: Callable[[Sequence[str], Stopping], Outcome], **arguments: object
) -> list[str]:
    """Runs a schedule until its clock ends it; what it said."""
    said: list[str] = []
    task = Schedule(
        arguments=ScheduleArguments(**{"cron": "* * * * *", **arguments}),  # type: ignore[arg-type]
        words=("run",),
        output=str(output),
        say=said.append,
        clock=clock,
        runner=runner,
    )
    with pytest.raises(StoppedError):
        task.forever()
    return said


# ---- when a tick comes


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_cron_follows_the_zone_through_summer_time() -> None:
    nightly = Cron("30 2 * * *", "Europe/Berlin")
    assert nightly.after(at("2026-01-10T12:00+01:00")) == at("2026-01-11T02:30+01:00")
    assert nightly.after(at("2026-03-28T12:00+01:00")) == at("2026-03-29T03:00+02:00")  # 02:30 is not on the clock
    assert nightly.after(at("2026-03-29T12:00+02:00")) == at("2026-03-30T02:30+02:00")
    assert nightly.after(at("2026-10-25T02:30+02:00")) == at("2026-10-26T02:30+01:00")  # not twice
    assert Cron("*/10 * * * * *", "UTC").after(NOON) == NOON + timedelta(seconds=10)
    assert Cron("0 * * * *", "UTC").between(NOON, NOON + timedelta(hours=3)) == 3


@pytest.mark.parametrize(
    ("cron", "zone", "message"),
    [
        ("61 * * * *", "UTC", "schedule.cron '61 \\* \\* \\* \\*': Bad minute; it has five fields"),
        ("every day", "UTC", "Wrong number of fields"),
        ("* * * * *", "Europe/Berlim", "no 'Europe/Berlim'; the nearest is Europe/Berlin"),
        ("* * * * *", "../etc/passwd", "there is no '../etc/passwd'"),
    ],
)
def test_a_wrong_time_is_told(cron, zone, message) -> None:
    with pytest.raises(UsageError, match=message):
        Cron(cron, zone)


def test_missed_ticks_are_made_up_once(tmp_path) -> None:
    clock, began = TestClock(5), []
    lasting = iter([20, 200, 20, 60, 1])

    def runner(words: Sequence[str], stop: Stopping) -> Outcome:
        began.append((clock.now() - NOON).total_seconds())
        clock.moment += timedelta(seconds=next(lasting))
        return Outcome(exit_code=0, seconds=1, record={"status": "finished", "documents": {}, "pages": {}})

    said = scheduled(tmp_path, clock, runner)
    # The second one lasts over three ticks: these are made up at once, by one run.
    assert began == [60, 120, 320, 360, 420]
    assert [line.partition("stands for ")[2] for line in said if line.startswith("2026")] == [
        "", "", "3 ticks", "", "",
    ]  # fmt: skip
    assert said[0] == "next run at 2026-03-01 12:01:00 UTC"


@pytest.mark.parametrize(("started", "first"), [("11:57:30", 0), ("11:59:59", 0), ("12:00:00", 60), ("13:00:00", 60)])
def test_what_was_missed_while_nothing_ran_is_made_up_at_the_start(tmp_path, started, first) -> None:
    write_run(tmp_path, record(started=f"2026-03-01T{started}+00:00"))
    clock, began = TestClock(1), []

    def runner(words: Sequence[str], stop: Stopping) -> Outcome:
        began.append((clock.now() - NOON).total_seconds())
        return Outcome(exit_code=0, seconds=1)

    scheduled(tmp_path, clock, runner)
    assert began == [first]  # a clock that was set back is no reason to wait until it gets there


def test_the_machines_clock_waits_and_can_be_stopped() -> None:
    clock, stop = MachineClock(), Stopping()
    moment = clock.now() + timedelta(seconds=0.2)
    clock.wait_until(moment, stop)
    assert timedelta(0) <= clock.now() - moment < timedelta(seconds=5)
    stop.signal = "SIGTERM"
    with pytest.raises(StoppedError):
        clock.wait_until(clock.now() - timedelta(days=1), stop)


# ---- what a tick says and keeps


def test_only_the_newest_records_are_kept(tmp_path) -> None:
    storage = open_storage(str(tmp_path))
    assert (last_started(storage), drop_old(storage, 1)) == (None, 0)
    for hour in range(5):
        write_run(tmp_path, record(f"r{hour}", started=f"2026-03-01T0{hour}:00:00+00:00"))
    (tmp_path / "runs" / "notes.json").write_text("[]")
    assert last_started(storage) == NOON.replace(hour=4)
    assert drop_old(storage, 0) == 0
    assert drop_old(storage, 2) == 3
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["notes.json", "r3.json", "r4.json"]


def test_a_tick_is_one_line() -> None:
    made = json.loads(record(run_id="abc").to_json())
    made["documents"].update(new=2, retried=1)
    assert str(Outcome(exit_code=3, seconds=12.3, record=made)) == (
        "finished: 2 new, 1 retried, 1 done, 1 partial, 1 failed, 0 skipped; 3 pages or rows in 12 s "
        "(exit code 3, run abc)"
    )
    assert (
        str(Outcome(exit_code=-9, seconds=5))
        == "the run was killed (SIGKILL) after 5 s; the next tick does what is left"
    )
    busy = Outcome(exit_code=2, seconds=1, said="out is being written by run x")
    assert str(busy) == "nothing was done (exit code 2): out is being written by run x"


def test_what_is_tried_again_by_default_is_what_may_pass() -> None:
    assert words("c.yaml", (), 0) == [
        "run", "--config", "c.yaml", "--retry",
        "crash,internal,not_found,ocr_timeout,out_of_memory,permission,render_timeout", "--max-attempts", "10",
    ]  # fmt: skip
    assert words("c.yaml", ("corrupt",), 2)[3:] == ["--retry", "corrupt", "--max-attempts", "2"]


# ---- real runs


@pytest.mark.usefixtures("ray_local")
def test_each_file_is_done_once_and_failures_a_few_times(manta, tmp_path) -> None:
    config = configured(tmp_path, run={"retry": ["corrupt"], "max_attempts": 2})
    files, output, clock = tmp_path / "in", tmp_path / "out", TestClock(3)
    added = iter([["a.pdf", "b.pdf"], ["c.pdf"], []])
    corpus.broken(files / "broken.pdf")
    found: list[dict] = []

    def runner(words: Sequence[str], stop: Stopping) -> Outcome:
        for name in next(added):
            corpus.pdf(files / name)
        code, out, _ = manta(*words, "--json", "--quiet")
        found.append(json.loads(out))
        return Outcome(exit_code=code, seconds=found[-1]["seconds"], record=found[-1])

    said: list[str] = []
    task = Schedule(
        arguments=ScheduleArguments(cron="* * * * *", keep_records=2),
        words=words(str(config), ("corrupt",), 2),
        output=str(output),
        say=said.append,
        clock=clock,
        runner=runner,
    )
    with pytest.raises(StoppedError):
        task.forever()
    told = [[one["documents"][name] for name in ("new", "retried", "ok", "failed", "skipped")] for one in found]
    assert told == [[3, 0, 2, 1, 0], [1, 1, 1, 1, 2], [0, 0, 0, 0, 4]]
    pages = pq.read_table(output / "pages")
    assert Counter(Path(uri).name for uri in pages["uri"].to_pylist()) == {"a.pdf": 1, "b.pdf": 1, "c.pdf": 1}
    assert pq.read_table(output / "errors")["attempts"].to_pylist() == [2]
    assert len(list((output / "runs").iterdir())) == 2
    lines = [line for line in said if line.startswith("2026")]
    assert "finished: 3 new, 0 retried, 2 done, 0 partial, 1 failed, 0 skipped" in lines[0]
    assert lines[2].endswith("; 1 old run records dropped")


def test_ticks_every_second_while_files_come_and_a_run_is_killed(tmp_path) -> None:
    config = configured(tmp_path, schedule={"cron": "* * * * * *"})
    files, output = tmp_path / "in", tmp_path / "out"
    corpus.scan(files / "scan0.png")
    for i in range(1, SCANS):
        shutil.copyfile(files / "scan0.png", files / f"scan{i}.png")
    new = corpus.pdf(tmp_path / "new.pdf", 2)
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "schedule", str(config)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def pages() -> Counter[str]:
        found: Counter[str] = Counter()
        for path in output.glob("pages/*.parquet"):
            try:
                found.update(Path(uri).name for uri in pq.read_table(path, columns=["uri"])["uri"].to_pylist())
            except FileNotFoundError:  # parts are joined meanwhile
                continue
        return found

    def records() -> list[dict]:
        found = [json.loads(path.read_text()) for path in output.glob("runs/*.json")]
        return sorted(found, key=lambda one: one["started"])

    def runs() -> list[psutil.Process]:
        return psutil.Process(process.pid).children()

    def until(done: Callable[[], object]) -> None:
        give_up = time.monotonic() + 120
        while not done():
            assert process.poll() is None
            assert time.monotonic() < give_up
            assert len(runs()) <= 1  # none overlap
            time.sleep(0.05)

    try:
        until(pages)
        (run,) = runs()
        run.kill()  # at once: the rest of the pages takes seconds
        new.rename(files / new.name)
        until(lambda: any(one["documents"]["listed"] == SCANS + 1 for one in records()))
        last = runs()
        until(lambda: runs() != last)  # its line is told once it has ended
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 5, err
    lines = [line for line in err.splitlines() if line.startswith("20")]
    assert sum("the run was killed (SIGKILL)" in line for line in lines) == 1
    assert "ticks" in lines[-1]  # each run is longer than the period
    for one, other in itertools.pairwise(records()):
        assert one["finished"] <= other["started"]
    assert pages() == {"new.pdf": 2, **{f"scan{i}.png": 1 for i in range(SCANS)}}
    rest = next(one for one in records() if one["documents"]["listed"] == SCANS + 1)
    by_run = Counter(pq.read_table(output / "pages")["run_id"].to_pylist())
    killed = sum(count for run_id, count in by_run.items() if run_id not in {one["run_id"] for one in records()})
    assert killed > 0
    assert rest["pages"]["ok"] == SCANS + 2 - killed  # only what was left, and what is new


def test_a_run_that_is_told_to_stop_is_waited_for_and_told_of(monkeypatch) -> None:
    def wait(*_: object) -> tuple[str, str]:
        raise StoppedError("stopped by SIGTERM")

    monkeypatch.setattr("jobs.scheduling.tick._wait", wait)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started = time.monotonic()
    with pytest.raises(StoppedError, match="stopped by SIGTERM; the run: the run was killed"):
        run_apart(["bench", "--help"], Stopping())
    assert time.monotonic() - started < 30


def test_once_beside_another_run_does_nothing_and_says_why(manta, tmp_path, monkeypatch) -> None:
    config = configured(tmp_path)
    corpus.pdf(tmp_path / "in" / "a.pdf")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Lease(open_storage(str(tmp_path / "out")), Holder.me("by hand")):
        code, out, err = manta("schedule", config, "--once", "--json")
    assert (code, out) == (2, "null\n")
    assert "nothing was done (exit code 2): " in err
    assert "is being written by run by hand" in err
    assert not (tmp_path / "out" / "pages").exists()


# ---- the command


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"schedule": {"cron": ""}}, "has no schedule.cron"),
        ({"schedule": {"corn": "x"}}, "no key 'schedule.corn': the nearest is schedule.cron"),
        ({"schedule": {"keep_records": -1}}, "schedule.keep_records must be 0 or more, not -1"),
        ({"schedule": {"time_zone": "Mars"}}, "schedule.time_zone: there is no 'Mars'"),
        ({"run": {"retry": ["nope"]}}, "no code 'nope'"),
        ({"run": {"max_attempts": -1}}, "--max-attempts must be 0 or more"),
        ({"kubernetes": {"imige": "x"}}, "the nearest is kubernetes.image"),
        ({"render": {"dpi": 3}}, "between 18 and 1200"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(manta, tmp_path, sections, message) -> None:
    code, out, err = manta("schedule", configured(tmp_path, **sections), "--once")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


SHARED = {"input": ["s3://bucket/in/"], "output": "s3://bucket/out/"}


def test_the_manifest_is_a_cronjob_that_submits(manta, tmp_path) -> None:
    config = configured(tmp_path, run=SHARED, kubernetes={"namespace": "corpora", "address": "http://head:8265"})
    code, out, err = manta("schedule", config, "--manifest")
    assert (code, err) == (0, "")
    settings, job = yaml.safe_load_all(out)
    for one in (settings, job):
        kubernetes_validate.validate(one, "1.34", strict=True)
    assert settings["data"] == {"nightly.yaml": config.read_text()}
    assert job["metadata"]["namespace"] == "corpora"
    spec = job["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("* * * * *", "UTC", "Forbid")
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["args"][:5] == ["submit", "--address", "http://head:8265", "--no-pack", "--stop-on-interrupt"]
    assert container["args"][5:] == ["--", *words("/etc/manta/nightly.yaml", (), 0)]
    assert container["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "manta-ray-token", "key": "auth_token"}}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, "is a place on this machine"),
        ({"run": SHARED, "schedule": {"cron": "* * * * * *"}}, "five fields and no seconds"),
        ({"run": SHARED, "kubernetes": {"name": "Big Name"}}, "kubernetes.name must be of a-z"),
    ],
)
def test_what_a_cluster_cannot_do_gives_no_manifest(manta, tmp_path, monkeypatch, sections, message) -> None:
    monkeypatch.chdir(tmp_path)
    sections = sections or {"run": {"input": ["in"], "output": "out"}}
    code, out, err = manta("schedule", configured(tmp_path, **sections), "--manifest")
    assert (code, out) == (2, "")
    assert message in err
