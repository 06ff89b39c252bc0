"""A changed config: what has not changed stays, what has is replaced without a failed request."""

from __future__ import annotations

import shutil

import pytest
import yaml
from ray import serve
from safetensors.torch import load_file, save_file

from jobs.serving.deployed import build
from stages.errors import UsageError
from tests.jobs.serving.test_serve_faults import ROWS, TEXTS, Load, expected, processes
from tests.waits import until


def test_a_new_version_comes_without_a_failed_request(endpoint, tiny, tmp_path):
    before = expected(endpoint)
    second = shutil.copytree(tiny("bert", "text-classification"), tmp_path / "second")
    weights = load_file(second / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + 0.5
    weights["classifier.weight"] = -weights["classifier.weight"]
    save_file(weights, second / "model.safetensors", metadata={"format": "pt"})
    config = yaml.safe_load(endpoint.config.read_text())
    [changed] = [one for one in config["models"] if f"/v1/{one['family']}/{one['task']}" == ROWS]
    changed["checkpoint"] = str(second)
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    others = [processes(f"ray::ServeReplica:manta:{name}") for name in ("documents", "bert-features")]

    with Load(endpoint, 6) as load:
        until(lambda: load.good == before)
        assert load.good == before
        serve.run(build({"config": str(path)}), name="manta", route_prefix="/")  # as a Serve config file does it
        until(lambda: len(load.good - before) == len(TEXTS))
    after = expected(endpoint)

    print(len(load.answers), dict(load.failed))
    assert load.failed.total() == 0
    assert load.good == before | after
    assert before.isdisjoint(after)
    assert len(after) == len(TEXTS)
    assert [len(each) for each in others] == [1, 1]
    assert all(one.is_running() for each in others for one in each), "what has not changed stays"


def test_build_takes_a_config_and_nothing_else():
    with pytest.raises(UsageError, match="args must be"):
        build({"config": "a", "more": "b"})
