"""A training that stops and goes on: from any checkpoint, however it is shared, after kill -9 of worker and driver."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from going_on_targets import Told, learned, undisturbed
from safetensors.numpy import load_file
from training_rows import FAMILY, TASK, described, learnable, settings, without_dropout, write, write_encoded

from jobs.train import train
from jobs.training import begun as beginnings
from jobs.training.begun import Begun
from jobs.training.learn import learn
from jobs.training.plan import Plan
from stages.errors import UsageError
from stages.storage import open_storage
from tests.stages.s3_server import BUCKET, serving

# ---- from a checkpoint


@pytest.mark.parametrize("at", [5, 6], ids=["in an epoch", "between epochs"])
def test_what_comes_after_a_checkpoint_is_what_would_have_come(tiny, tmp_path: Path, at: int) -> None:
    """With dropout, so that random numbers have to go on too."""
    folder, out = tiny(FAMILY, TASK), tmp_path / "out"
    write_encoded(described(folder), learnable(30, 0), out)
    rows = [{**row, "uri": "e", "source": "1", "page": 1, "record": n} for n, row in enumerate(learnable(6, 1))]
    plans = [
        Plan(
            task=described(folder),
            settings=settings(epochs=4, token_budget=160, checkpoint_steps=1, evaluate_steps=3),
            output=str(out),
            evaluation=rows,
            points=Told(),  # type: ignore[arg-type]
        )
        for _ in range(2)
    ]
    kept = tmp_path / "kept"
    first = learn(plans[0], torch.device("cpu"), report=lambda part, step: shutil.copytree(part, kept / str(step)))
    whole = (out / "model" / "model.safetensors").read_bytes()
    assert first is not None
    assert first.steps == 8
    assert sorted(path.name for path in kept.iterdir()) == list("1234567"), "the end is no checkpoint"
    torch.manual_seed(99)
    done = learn(plans[1], torch.device("cpu"), start=kept / str(at))
    assert done is not None
    assert done == replace(first, seconds=done.seconds)
    assert plans[1].points.points == plans[0].points.points  # type: ignore[union-attr]
    assert (out / "model" / "model.safetensors").read_bytes() == whole


def test_a_sharded_checkpoint_goes_on_in_any_number_of_workers(gloo, tiny, tmp_path: Path) -> None:
    folder = str(without_dropout(tiny(FAMILY, TASK), tmp_path / "steady"))
    write_encoded(described(Path(folder)), learnable(30, 0), tmp_path)
    run = functools.partial(learned, folder=folder, output=str(tmp_path), shares=2)
    whole = run(0, kept=str(tmp_path / "kept 1"))
    sharded = gloo.call(functools.partial(run, kept=str(tmp_path / "kept 2"), fsdp=True), world=2)[0]
    start = str(tmp_path / "kept 2" / "4")
    ways = {
        "sharded": sharded,
        "sharded again": gloo.call(functools.partial(run, start=start, fsdp=True), world=2)[0],
        "two": gloo.call(functools.partial(run, start=start), world=2)[0],
        "one": run(0, start=start),
    }
    for name, losses in ways.items():
        assert list(losses) == list(whole), name
        np.testing.assert_allclose(list(losses.values()), list(whole.values()), atol=2e-5, err_msg=name)


# ---- killed


@pytest.fixture
def s3() -> Iterator[str]:
    with serving():
        yield f"s3://{BUCKET}"


def manta_train(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from jobs.cli import program; program()", "train", FAMILY, "--task", TASK, *words]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def steps_kept(output: str) -> list[int]:
    from stages.storage_s3 import file_system

    place = f"{output.removeprefix('s3://')}/trainer/ray"
    names = [Path(name).name for name in file_system().ls(place, refresh=True)] if file_system().exists(place) else []
    return [int(name.removeprefix("step-")) for name in names if name.startswith("step-")]


def wait_for_step(process: subprocess.Popen[bytes], output: str, step: int) -> None:
    for _ in range(1_200):
        assert process.poll() is None, process.stderr.read().decode()[-3000:]  # type: ignore[union-attr]
        if max(steps_kept(output), default=0) >= step:
            return
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint of step {step}")


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [
        one for one in psutil.Process(process.pid).children(recursive=True) if "TrainWorker" in " ".join(one.cmdline())
    ]


def curve(output: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in open_storage(output).read("curve.jsonl").splitlines()]


def test_killed_workers_and_drivers_leave_no_trace_in_the_curve(gloo, tiny, tmp_path: Path, s3: str) -> None:
    """Two workers, with dropout, checkpoints on S3: every loss is that of a training that nothing disturbed, of two
    plain processes."""
    data, held_out = write(tmp_path / "a.parquet", learnable(120, 2)), write(tmp_path / "b.parquet", learnable(8, 3))
    folder, output = str(tiny(FAMILY, TASK)), f"{s3}/out"
    how = {"epochs": 30, "token_budget": 96, "checkpoint_steps": 30, "evaluate_steps": 70, "learning_rate": 1e-3}
    sets = [part for name, value in how.items() for part in ("--set", f"train.{name}={value}")]
    words = ("--data", data, "--eval-data", held_out, "--checkpoint", folder, "--workers", "2", *sets)

    first = manta_train(*words, "--output", output)
    try:
        wait_for_step(first, output, 30)
        workers_of(first)[-1].kill()
        before = max(steps_kept(output))
        wait_for_step(first, output, before + 30)
        workers, family = workers_of(first), psutil.Process(first.pid).children(recursive=True)
        os.kill(first.pid, signal.SIGKILL)
    finally:
        first.kill()
        first.communicate()
    _, alive = psutil.wait_procs(workers, timeout=40)
    assert not alive, "workers end with their driver"
    for left in psutil.wait_procs(family, timeout=1)[1]:  # Ray's agents may outlive it by a minute
        left.kill()

    with pytest.raises(UsageError, match="holds a training that did not end: go on with --resume"):
        train(FAMILY, TASK, data, output, checkpoint=folder, eval_data=held_out, workers=2, settings=settings(**how))
    second = manta_train(*words, "--output", output, "--resume")
    _, told = second.communicate(timeout=240)
    assert second.returncode == 0, told.decode()[-3000:]

    rows = [{**row, "uri": "e", "source": "1", "page": 1, "record": n} for n, row in enumerate(learnable(8, 3))]
    write_encoded(described(Path(folder)), learnable(120, 2), tmp_path / "plain")
    plain, points = gloo.call(undisturbed, folder, str(tmp_path / "plain"), how, rows, world=2)[0]
    record = json.loads(open_storage(output).read("train.json"))
    assert record["steps"] == plain.steps > 150
    for name in ("loss", "eval_entity_f1"):
        ours = {int(point["step"]): point[name] for point in curve(output) if name in point}
        assert ours == pytest.approx({step: values[name] for step, values in points if name in values}, abs=1e-4)
    assert record["metrics"] == pytest.approx(plain.metrics, abs=1e-4)
    (tmp_path / "kept.safetensors").write_bytes(open_storage(output).read("model/model.safetensors"))
    kept, wanted = (load_file(path) for path in (tmp_path / "kept.safetensors", model_of(tmp_path / "plain")))
    assert max(float(np.abs(one - wanted[name]).max()) for name, one in kept.items()) < 1e-3
    assert not list(open_storage(output).list("trainer/"))


def model_of(output: Path) -> Path:
    return output / "model" / "model.safetensors"


# ---- what is in the output


@pytest.fixture
def begun(tiny, tmp_path: Path):
    """An output in which a training with these settings began and got to a checkpoint."""
    data = write(tmp_path / "a.parquet", learnable(8, 0))
    folder, output = str(tiny(FAMILY, TASK)), str(tmp_path / "out")

    def start(**more: object):
        how = {"epochs": 2, **more}
        return train(FAMILY, TASK, data, output, checkpoint=folder, settings=settings(**how), resume="epochs" in more)

    return start, output


def leave(output: str, asked: dict[str, str]) -> None:
    beginnings.write(output, Begun(asked=asked, workers=2, left_out=0))
    open_storage(output).put("trainer/ray/checkpoint_manager_snapshot.json", b"{}")


def test_an_unfinished_training_is_not_thrown_away(begun) -> None:
    start, output = begun
    leave(output, {})
    with pytest.raises(UsageError, match="holds a training that did not end: go on with --resume, or name another"):
        start()
    assert beginnings.read(output) is not None


def test_another_training_does_not_go_on_with_it(begun) -> None:
    start, output = begun
    leave(output, {"train.epochs": "2.0"})
    with pytest.raises(UsageError, match="this differs: family None → layoutlm"):
        start(epochs=3)
