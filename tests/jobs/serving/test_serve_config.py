"""Config files and options to a ServeConfig; keys; the gate. Without Ray."""

from __future__ import annotations

import pickle

import pytest
import yaml

from jobs.commands.serve import config_for
from jobs.config import Given
from jobs.serving.config import read_config
from jobs.serving.guard import Gate
from jobs.serving.keys import digest, holder, read_keys
from jobs.serving.refusals import STATUSES, Refused
from jobs.serving.settings import Endpoint
from pipelines.tasks.features import FeatureOptions
from stages.errors import Code, UsageError

ONE = {"family": "bert", "task": "features"}


@pytest.fixture
def config(tmp_path):
    def read(tree, sets=()):
        path = tmp_path / "serve.yaml"
        path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
        return read_config(str(path), sets)

    return read


def test_a_file_says_all(config):
    found = config(
        {
            "serve": {"port": 8100, "queue": 5},
            "documents": {"replicas": 2},
            "render": {"dpi": 200},
            "text": "ocr",
            "models": [
                {**ONE, "name": "embed", "replicas": 2, "max_replicas": 4, "options": {"pooling": "cls"}},
                {"family": "layoutlm", "task": "features", "beside": "embed", "predict": {"dtype": "float32"}},
            ],
        },
        ["serve.queue=7"],
    )
    assert (found.sections.serve.port, found.sections.serve.queue) == (8100, 7)
    assert found.sections.reading.render.dpi == 200
    assert found.sections.reading.text == "ocr"
    assert found.sections.reading.limits.pages == found.sections.serve.pages
    first, second = found.models
    assert (first.model.called, second.model.called) == ("embed", "layoutlm-features")
    assert first.options == FeatureOptions(pooling="cls")
    assert second.predict.dtype == "float32"


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"models": [{**ONE, "replica": 2}]}, "models, number 1: no key 'replica': the nearest is replicas"),
        ({"models": [{"familly": "bert", "task": "x"}]}, "no key 'familly': the nearest is family"),
        ({"models": [{"family": "bert"}]}, "has no task"),
        (
            {"models": [{**ONE, "options": {"poling": "cls"}}]},
            "no key 'options.poling': the nearest is options.pooling",
        ),
        ({"models": [{**ONE, "predict": {"dtype": "int8"}}]}, "predict.dtype must be one of auto|float32"),
        ({"models": [{**ONE, "replicas": 3, "max_replicas": 2}]}, "model.max_replicas must be 0, or at least replicas"),
        ({"models": [ONE, ONE]}, "two models are called bert-features"),
        ({"models": [{**ONE, "beside": "other"}]}, "cannot run beside 'other'"),
        ({"models": [{**ONE, "name": "a/b"}]}, "name must be letters"),
        ({"models": [{"family": "brt", "task": "x"}]}, "no family 'brt' (did you mean 'bert'?)"),
        ({"models": ["bert"]}, "must be a mapping"),
        ({"models": []}, "names no models"),
        ({"serve": {"prt": 1}, "models": [ONE]}, "no key 'serve.prt': the nearest is serve.port"),
        ({"serve": {"queue_mb": 1}, "models": [ONE]}, "serve.queue_mb must be at least serve.body_mb"),
        ({"serve": {"port": 0}, "models": [ONE]}, "serve.port must be between 1 and 65535"),
        ("models: [", "is no YAML"),
        ("- a", "must hold sections"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(config, tree, told):
    with pytest.raises(UsageError) as error:
        config(tree)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_all_that_is_wrong_is_told_at_once(config):
    with pytest.raises(UsageError) as error:
        config({"serve": {"prt": 1}, "models": [{**ONE, "cpu": 2}, {"family": "bert", "task": "nothing"}]})
    assert all(word in str(error.value) for word in ("serve.prt", "model.cpus", "no task 'nothing'")) or all(
        word in str(error.value) for word in ("serve.prt", "cpus", "no task 'nothing'")
    )


def test_a_family_is_served_straight(tmp_path):
    given = {"model.checkpoint": Given(value="here"), "serve.port": Given(value=9000)}
    found = config_for("bert", "features", ["task.pooling=cls", "model.cpus=0.5"], given)
    [one] = found.models
    assert (one.model.checkpoint, one.model.cpus, found.sections.serve.port) == ("here", 0.5, 9000)
    assert one.options == FeatureOptions(pooling="cls")
    for what, task, told in ((None, None, "what?"), ("bert", None, "which task?"), ("brt", None, "no family 'brt'")):
        with pytest.raises(UsageError, match=told.replace("?", r"\?")):
            config_for(what, task, [], {})
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"models": [ONE]}))
    with pytest.raises(UsageError, match="leave out --task"):
        config_for(str(path), "features", [], {})


# ---- keys

LONG = "k" * 24


def test_keys_come_from_the_environment_or_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_KEYS", f"{LONG}1,alice={LONG}2")
    file = tmp_path / "keys"
    file.write_text(f"bob={LONG}3\n{LONG}4==\n")
    keys = read_keys(Endpoint(keys_env="SOME_KEYS", keys_file=str(file)))
    assert [key.name for key in keys] == ["key-1", "alice", "bob", "key-4"]
    assert [holder(LONG + end, keys) for end in ("1", "2", "3", "4==", "5", "")] == [
        "key-1", "alice", "bob", "key-4", None, None,
    ]  # fmt: skip
    assert LONG.encode() not in pickle.dumps(keys), "replicas are given hashes"
    assert keys[0].digest == digest(f"{LONG}1")


def test_without_keys_only_loopback(monkeypatch, tmp_path):
    monkeypatch.delenv("SOME_KEYS", raising=False)
    assert read_keys(Endpoint()) == read_keys(Endpoint(host="::1")) == read_keys(Endpoint(host="localhost")) == ()
    empty = tmp_path / "empty"
    empty.touch()
    for endpoint, told in (
        (Endpoint(host="0.0.0.0"), "no keys are set"),
        (Endpoint(host="example.org"), "no keys are set"),
        (Endpoint(keys_env="SOME_KEYS"), "SOME_KEYS is not set"),
        (Endpoint(keys_file=str(tmp_path / "none")), "cannot be read"),
        (Endpoint(keys_file=str(empty)), "holds no key"),
    ):
        with pytest.raises(UsageError, match=told):
            read_keys(endpoint)
    monkeypatch.setenv("SOME_KEYS", "short")
    with pytest.raises(UsageError, match="fewer than 24 characters") as error:
        read_keys(Endpoint(keys_env="SOME_KEYS"))
    assert "short" not in str(error.value)


# ---- the gate


def test_every_code_has_a_status():
    assert set(STATUSES) == set(Code)
    assert {code for code, status in STATUSES.items() if status >= 500} == {Code.INTERNAL}


def test_the_gate_refuses_what_is_too_much():
    gate = Gate(Endpoint(queue=2, body_mb=1, queue_mb=2))
    gate.enter()
    gate.enter()
    with pytest.raises(Refused) as error:
        gate.enter()
    assert (error.value.status, error.value.headers()) == (429, {"Retry-After": "1"})
    gate.take(1_500_000)
    with pytest.raises(Refused) as error:
        gate.take(600_000)
    assert error.value.code == "busy"
    gate.leave(seconds=100.0, size=2_100_000)
    gate.enter()
    gate.take(1_900_000)
    with pytest.raises(Refused) as error:
        gate.enter()
    assert int(error.value.headers()["Retry-After"]) > 5, "told by how long requests take"
