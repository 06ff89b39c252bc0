"""Where checkpoints come from, what their content is, and what is said when one cannot be had."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

import pipelines
from pipelines import Checkpoint
from pipelines.checkpoint import at_hand, content_of, resolve
from stages.errors import CheckpointError

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A checkpoint of its own."""
    return shutil.copytree(tiny("bert", "features"), tmp_path / "model")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MANTA_CACHE", str(tmp_path / "cache"))
    at_hand_cache().cache_clear()


def at_hand_cache():
    from pipelines import checkpoint

    return checkpoint._at_hand


# ---- a local folder


def test_a_folder_is_taken_as_it_is(folder, monkeypatch):
    found = resolve(str(folder), model_types=("bert",))
    assert found.folder == folder
    assert found.ref == str(folder)
    monkeypatch.chdir(folder.parent)
    assert resolve("model").content == found.content
    assert resolve("./model/").path == str(folder)


def test_content_is_that_of_the_files_that_answers_depend_on(folder):
    before = content_of(folder)
    (folder / "README.md").write_text("a card")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "optimizer.pt").write_bytes(b"x")
    (folder / "checkpoint-10").mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"not read where there are safetensors")
    assert content_of(folder) == before
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path, old = folder / name, (folder / name).read_bytes()
        path.write_bytes(old + b" ")
        assert content_of(folder) != before
        path.write_bytes(old)
    (folder / "tokenizer.json").rename(folder / "other.json")
    assert content_of(folder) != before


def test_pickles_are_content_where_there_is_nothing_else(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    before = resolve(str(folder)).content
    (folder / "pytorch_model.bin").write_bytes(b"others")
    assert resolve(str(folder)).content != before


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda at: (at / "config.json").unlink(), "is no checkpoint: .* holds no config.json"),
        (lambda at: (at / "config.json").write_text("{"), "config.json without a model_type that can be read"),
        (lambda at: (at / "config.json").write_text("[]"), "config.json without a model_type that can be read"),
        (lambda at: (at / "model.safetensors").unlink(), r"has no weights: .* holds no \*.safetensors and no \*.bin"),
    ],
)
def test_what_a_folder_lacks_is_named(folder, break_it, message):
    break_it(folder)
    with pytest.raises(CheckpointError, match=message):
        resolve(str(folder))


def test_another_architecture_is_named(folder):
    with pytest.raises(CheckpointError, match="model of type 'bert'; this family loads layoutlm or layoutxlm"):
        resolve(str(folder), model_types=("layoutlm", "layoutxlm"))


@pytest.mark.parametrize("ref", ["/no/such/folder", "./nothing", "~/nothing", "two words", "a/b/c"])
def test_what_is_no_reference_is_said(ref):
    with pytest.raises(CheckpointError, match=f"no checkpoint {ref}: there is no such folder, and it is no Hub id"):
        resolve(ref)


# ---- the Hub, offline


def test_without_a_network_the_message_says_what_to_do():
    with pytest.raises(CheckpointError) as told:
        resolve(f"org/model@{REVISION}")
    message = str(told.value)
    assert message.startswith(f"checkpoint org/model@{REVISION} cannot be had from the Hub (")
    assert f"hf download org/model --local-dir FOLDER --revision {REVISION}" in message
    assert message.endswith("say --checkpoint FOLDER")
    assert "\n" not in message


def test_what_the_hub_cache_holds_needs_no_network(folder, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--org--model"
    shutil.copytree(folder, repo / "snapshots" / REVISION)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(REVISION)
    for ref in (f"org/model@{REVISION}", "org/model"):
        found = resolve(ref)
        assert (found.ref, found.content) == (ref, content_of(folder))


NOT_LOOKED_UP = {
    *("dpt", "fsmt", "git", "luke", "realm", "retribert", "sew_d", "speech_encoder_decoder"),
    "vision_text_dual_encoder",
}
"""Families whose default revision nobody has looked up on the Hub yet; they follow its main branch."""


def test_default_checkpoints_are_pinned():
    for name in pipelines.families():
        for ref in pipelines.family(name).checkpoints.values():
            revision = ref.partition("@")[2]
            assert revision == "main" if name in NOT_LOOKED_UP else len(revision) == 40, f"{name}: {ref}"


# ---- S3


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket on a server of its own."""
    import boto3
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    from stages import storage_s3

    storage_s3.file_system.cache_clear()
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket="models")
    yield client
    storage_s3.file_system.cache_clear()
    server.stop()


def upload(client, folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        client.upload_file(str(path), "models", f"{prefix}/{path.name}")


def test_an_s3_folder_is_downloaded_once_and_anew_when_it_changes(folder, bucket):
    (folder / "evil.py").write_text("print('not taken')")
    upload(bucket, folder, "bert/one")
    first = resolve("s3://models/bert/one/", model_types=("bert",))
    assert first.content == content_of(folder)
    assert not (first.folder / "evil.py").exists()
    marker = first.folder / "marker"
    marker.touch()
    assert (resolve("s3://models/bert/one/").folder / "marker").exists(), "not downloaded again"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "note": "other"}))
    upload(bucket, folder, "bert/one")
    second = resolve("s3://models/bert/one")
    assert second.content == content_of(folder) != first.content


def test_what_s3_lacks_is_named(bucket):
    with pytest.raises(CheckpointError, match="no checkpoint s3://models/nothing"):
        resolve("s3://models/nothing")
    with pytest.raises(CheckpointError, match="no checkpoint s3://nowhere/x"):
        resolve("s3://nowhere/x")


# ---- the MLflow registry


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory) -> Path:
    """Making the tables takes seconds: once, then copied."""
    import mlflow

    path = tmp_path_factory.mktemp("registry") / "empty.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def registry(tmp_path, folder, empty_registry):
    """A registry with the checkpoint as version 1 of ``reader``, called champion."""
    import mlflow

    before = mlflow.get_tracking_uri()
    shutil.copy(empty_registry, tmp_path / "registry.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'registry.db'}")
    client = mlflow.MlflowClient()
    client.create_registered_model("reader")
    client.create_model_version("reader", source=folder.as_uri())
    client.set_registered_model_alias("reader", "champion", "1")
    yield client
    mlflow.set_tracking_uri(before)


def test_a_registered_model_by_alias_and_by_version(registry, folder):
    wanted = content_of(folder)
    for ref in ("models:/reader@champion", "models:/reader/1"):
        found = resolve(ref, model_types=("bert",))
        assert (found.content, found.ref) == (wanted, "models:/reader/1"), "what a row is signed with names a version"


def test_an_alias_that_moves_is_followed(registry, folder, tmp_path):
    first = resolve("models:/reader@champion")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "config.json").write_text((folder / "config.json").read_text() + " ")
    registry.create_model_version("reader", source=other.as_uri())
    registry.set_registered_model_alias("reader", "champion", "2")
    assert resolve("models:/reader@champion").content == content_of(other) != first.content


def test_mlflows_transformers_layout_is_one_checkpoint(registry, folder, tmp_path):
    """``mlflow.transformers.log_model`` keeps model and tokenizer in folders of their own."""
    root = tmp_path / "logged"
    for path in folder.iterdir():
        part = root / ("components/tokenizer" if "token" in path.name else "model")
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, part / path.name)
    registry.create_model_version("reader", source=root.as_uri())
    assert resolve("models:/reader/2").content == content_of(folder)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("models:/nothing@champion", "models:/nothing@champion in the registry sqlite.*: it has no model 'nothing'"),
        ("models:/nothing/1", "models:/nothing/1 in the registry sqlite.*: it has no model 'nothing'"),
        (
            "models:/reader@nobody",
            "reader@nobody in the registry .*: reader has @champion, and versions up to 1",
        ),
        ("models:/reader/9", "models:/reader/9 in the registry .*: reader has @champion, and versions up to 1"),
        ("models:/reader", "models:/reader names no version: say models:/reader@ALIAS"),
        ("models:/reader/latest", "is no registered model: say models:/NAME@ALIAS or models:/NAME/VERSION"),
    ],
)
def test_what_the_registry_lacks_is_named(registry, ref, message):
    with pytest.raises(CheckpointError, match=message):
        resolve(ref)


def test_a_registry_that_is_not_there_is_not_made(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(CheckpointError, match=r"there is no MLflow registry sqlite.*; set MLFLOW_TRACKING_URI"):
        resolve("models:/reader@champion")
    assert not (tmp_path / "none.db").exists()


def test_a_registry_that_does_not_answer_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(CheckpointError, match=r"registry http://\*\*\*@127.0.0.1:9 does not answer") as told:
        resolve("models:/reader@champion")
    assert "secret" not in str(told.value)


def test_a_version_that_is_made_again_is_downloaded_again(registry, folder, tmp_path):
    first = resolve("models:/reader/1")
    registry.delete_registered_model("reader")
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    registry.create_registered_model("reader")
    registry.create_model_version("reader", source=folder.as_uri())
    assert resolve("models:/reader/1").content == content_of(folder) != first.content


def test_a_registered_model_that_is_no_checkpoint_is_named(registry, tmp_path):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "MLmodel").write_text("flavors: {}")
    registry.create_model_version("reader", source=(tmp_path / "sklearn").as_uri())
    with pytest.raises(CheckpointError, match=r"holds no config\.json: it is no transformers checkpoint"):
        resolve("models:/reader/2")


# ---- on another machine


def test_a_worker_elsewhere_fetches_the_checkpoint_itself(registry, folder):
    seen = Checkpoint(ref="models:/reader/1", path="/not/on/this/machine", content=content_of(folder))
    assert content_of(at_hand(seen)) == seen.content


def test_a_worker_elsewhere_refuses_what_has_changed(registry):
    seen = Checkpoint(ref="models:/reader/1", path="/not/on/this/machine", content="another")
    with pytest.raises(CheckpointError, match="is not what it was when the run started"):
        at_hand(seen)
    gone = Checkpoint(ref="/not/on/this/machine", path="/not/on/this/machine", content="x")
    with pytest.raises(CheckpointError, match="no checkpoint /not/on/this/machine"):
        at_hand(gone)
