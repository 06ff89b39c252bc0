"""Runs that are not local CPUs alone: input and output on a faulty S3, a cluster with two GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.storage_s3 import file_system
from tests import corpus
from tests.jobs import apart
from tests.jobs.apart import answers, finish, start
from tests.stages.s3_server import BUCKET, serving

TWO_GPUS = """
import os, ray

def note_devices():
    from stages.predictor import Predictor
    opened = Predictor.open
    def noting(self, *args, **kwargs):
        if kwargs.get("model", True):
            with open({file!r}, "a") as file:
                print(os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), file=file)
        return opened(self, *args, **kwargs)
    Predictor.open = noting

ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False,
         logging_level="ERROR", runtime_env={{"worker_process_setup_hook": note_devices}})
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return corpus.corpus(tmp_path_factory.mktemp("elsewhere") / "in")


@pytest.fixture(scope="module")
def here(ray_local, files, tiny, tmp_path_factory) -> list[tuple]:
    """What a run on local disk and CPUs answers."""
    output = tmp_path_factory.mktemp("here")
    apart.here(files, output, tiny("layoutlm", "token-classification"))
    return answers(output)


def test_s3_with_faults_gives_the_rows_of_local_disk(files, here, tiny):
    with serving() as faults:
        for file in files.iterdir():
            file_system().put(str(file), f"{BUCKET}/run/in/{file.name}")
        faults.refuses, faults.loses, faults.slow = 0.10, 0.07, 0.10
        at = f"s3://{BUCKET}/run"
        checkpoint = tiny("layoutlm", "token-classification")
        record = finish(start(f"{at}/in", f"{at}/out", checkpoint), expected=3)
        assert faults.injected > 3
        assert record["documents"]["failed"] == 3
        assert answers(f"{at}/out") == here
        again = apart.here(f"{at}/in", f"{at}/out", checkpoint)
        assert (again.documents.skipped, again.pages.ok) == (6, 0)


def test_each_of_two_gpus_has_a_model_of_its_own(files, here, tiny, tmp_path):
    note = tmp_path / "devices"
    before = TWO_GPUS.format(file=str(note))
    finish(start(files, tmp_path / "out", tiny("layoutlm", "token-classification"), before=before), expected=3)
    assert answers(tmp_path / "out") == here
    opened = dict(line.split() for line in note.read_text().splitlines())
    assert sorted(opened.values()) == ["0", "1"]  # two processes, each sees a device of its own
