"""Runs that are killed, in part or whole, and run again: the same rows as an undisturbed run, none twice, none lost.

MANTA_KILLS sets how many workers are killed in one run (5 unless set).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests import corpus
from tests.jobs.apart import answers, committed, finish, here, start

pytestmark = pytest.mark.usefixtures("ray_local")

KILLS = int(os.environ.get("MANTA_KILLS", "5"))
SCANS = max(16, 2 * KILLS)


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for i in range(SCANS):
        corpus.scan(folder / f"scan{i:02}.png", f"RECEIPT NUMBER {i}")
    return folder


@pytest.fixture(scope="module")
def undisturbed(ray_local, scans, tiny, tmp_path_factory) -> list[tuple]:
    output = tmp_path_factory.mktemp("undisturbed")
    assert here(scans, output, tiny("layoutlm", "token-classification")).documents.ok == SCANS
    return answers(output)


def test_killed_workers_cost_nothing_but_time(scans, undisturbed, tiny, tmp_path):
    process = start(scans, tmp_path / "out", tiny("layoutlm", "token-classification"))
    draw, killed = random.Random(1), 0
    while process.poll() is None and killed < KILLS:
        time.sleep(0.5)
        try:
            family = psutil.Process(process.pid).children(recursive=True)
            # Workers at work, not idle ones: Ray names a busy worker after what it runs.
            workers = [
                one for one in family if one.name().startswith("ray::Map") or "ray::Map" in " ".join(one.cmdline())
            ]
            if workers:
                draw.choice(workers).kill()
                killed += 1
        except psutil.NoSuchProcess:
            continue
    record = finish(process)
    assert killed == KILLS, f"the run was over after {killed} kills"
    assert answers(tmp_path / "out") == undisturbed
    assert record["documents"]["ok"] == SCANS


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_killed_driver_goes_on_where_it_stopped(scans, undisturbed, tiny, tmp_path, share):
    output, checkpoint = tmp_path / "out", tiny("layoutlm", "token-classification")
    process = start(scans, output, checkpoint)
    lease = output / ".lease"
    wait_for(lambda: committed(output) >= share * SCANS if share else lease.exists(), process)
    process.kill()
    process.communicate()
    before = committed(output)
    record = here(scans, output, checkpoint)
    assert answers(output) == undisturbed
    # Workers of the dead driver may have committed a last block each after we counted.
    assert record.pages.ok <= SCANS - before
    assert record.documents.ok + record.documents.skipped == SCANS


def test_sigterm_commits_what_is_finished_and_says_so(scans, undisturbed, tiny, tmp_path):
    files = shutil.copytree(scans, tmp_path / "in")
    dense = [corpus.dense_scan(files / "text00.png")]  # minutes of OCR: the run is never over before the signal
    dense += [shutil.copy(dense[0], files / f"text{i:02}.png") for i in range(1, 40)]
    output, checkpoint = tmp_path / "out", tiny("layoutlm", "token-classification")
    process = start(files, output, checkpoint)
    wait_for(lambda: committed(output) > 0, process)
    at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    told = finish(process, expected=5)
    assert time.monotonic() - at < 30
    assert "SIGTERM" in told["stderr"]
    (record,) = (json.loads(path.read_text()) for path in (output / "runs").glob("*.json"))
    assert (record["status"], record["exit_code"]) == ("stopped", 5)
    assert committed(output) < SCANS + len(dense)
    before = len(of_scans(output))
    for page in dense:
        page.unlink()
    assert here(files, output, checkpoint).pages.ok == SCANS - before
    assert of_scans(output) == undisturbed


def of_scans(output: Path) -> list[tuple]:
    """The answers of ``scans``, without those of dense pages that OCR finished before the signal."""
    return [answer for answer in answers(output) if answer[0].startswith("scan")]
