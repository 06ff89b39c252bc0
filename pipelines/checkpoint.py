"""A checkpoint's name to a local folder and its content, once, on the driver.

| reference | where it comes from |
|---|---|
| ``folder/`` | a local folder with config.json |
| ``s3://bucket/folder`` | downloaded through s3fs |
| ``models:/name@alias``, ``models:/name/3`` | the MLflow model registry |
| ``org/name@revision``, ``org/name`` | the Hugging Face Hub, or its local cache |

Only data is taken: weights (safetensors where there are any, else pickles that torch's weights-only loader reads),
configuration and vocabularies; never code.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pipelines.checkpoint_mlflow import from_mlflow
from pipelines.checkpoint_sources import from_hub, from_s3
from pipelines.family import Checkpoint
from stages.errors import CheckpointError

FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "block_records.*")
"""What a checkpoint is made of, block_records being the evidence beside REALM's reader; files of subfolders are other
formats, or older checkpoints of a training."""
PICKLES = ("*.bin",)
"""Weights where there are no safetensors."""
NOT_CONTENT = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json", "README*")
"""What a training leaves beside a checkpoint and no answer depends on."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


def resolve(ref: str, *, model_types: Sequence[str] = ()) -> Checkpoint:
    """The checkpoint called ``ref``, in a local folder, with the hash of its content.

    ``model_types`` are those of config.json that will do; none admits all. Raises CheckpointError that says which
    checkpoint cannot be had, why, and what to do without a network.
    """
    folder, ref = _folder(ref)
    found = _model_type(ref, folder)
    if model_types and found not in model_types:
        wanted = " or ".join(model_types)
        raise CheckpointError(f"{ref} is a model of type {found!r}; this family loads {wanted}: see manta families")
    files = content_files(folder)
    if not any(name.suffix in {".safetensors", ".bin"} for name in files):
        raise CheckpointError(f"{ref} has no weights: {folder} holds no *.safetensors and no *.bin file")
    return Checkpoint(ref=ref, path=str(folder), content=content_of(folder))


def at_hand(checkpoint: Checkpoint) -> Path:
    """The checkpoint's folder on this machine; on another machine than the driver's it is fetched again.

    Raises CheckpointError where it cannot be had here or is no longer what the driver saw.
    """
    return _at_hand(checkpoint)


@lru_cache(maxsize=8)
def _at_hand(checkpoint: Checkpoint) -> Path:
    if checkpoint.folder.is_dir():
        return checkpoint.folder
    again = resolve(checkpoint.ref)
    if checkpoint.content and again.content != checkpoint.content:
        raise CheckpointError(f"{checkpoint.ref} is not what it was when the run started: pin its revision or version")
    return again.folder


def content_files(folder: Path) -> list[Path]:
    """The files that make the checkpoint, by name: safetensors and no pickles where both are there."""
    names = sorted(path for path in folder.iterdir() if path.is_file())
    own = [path for path in names if _is(path, FILES) and not _is(path, NOT_CONTENT)]
    pickles = [] if any(path.suffix == ".safetensors" for path in own) else [p for p in names if _is(p, PICKLES)]
    return sorted(own + [path for path in pickles if path.name != "training_args.bin"])


def content_of(folder: Path) -> str:
    """sha256 over the names and contents of the checkpoint's files, hexadecimal."""
    whole = hashlib.sha256()
    for path in content_files(folder):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.name}\0{digest}\n".encode())
    return whole.hexdigest()


def _is(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)


def _folder(ref: str) -> tuple[Path, str]:
    """The folder, and the reference that names just this content: an alias becomes the version that it stands for."""
    if ref.startswith("s3://"):
        return from_s3(ref, (*FILES, *PICKLES)), ref
    if ref.startswith("models:/"):
        return from_mlflow(ref)
    local = Path(ref).expanduser()
    if local.is_dir():
        return local.resolve(), ref
    if ref.startswith(("/", "./", "../", "~")) or not _HUB_ID.fullmatch(ref):
        raise CheckpointError(
            f"no checkpoint {ref}: there is no such folder, and it is no Hub id (org/name@revision), s3:// folder or "
            "models:/name@alias",
        )
    return from_hub(ref, FILES, PICKLES), ref


def _model_type(ref: str, folder: Path) -> str:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{ref} is no checkpoint: {folder} holds no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{ref} has a config.json without a model_type that can be read: {path}") from error
