"""Where checkpoints come from besides a local folder: the Hub and S3 (checkpoint_mlflow.py: the
MLflow registry). Each gives a local folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from stages.errors import CheckpointError, first_line


def cache() -> Path:
    """Where downloaded checkpoints are kept: ``$MANTA_CACHE``, else manta's folder of the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "manta"
    return Path(os.environ.get("MANTA_CACHE") or default) / "checkpoints"


def from_hub(ref: str, files: Sequence[str], pickles: Sequence[str]) -> Path:
    """A snapshot of ``org/name@revision`` in the Hub's own cache; pickles only where there are no safetensors."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = ref.partition("@")
    remedy = (
        f"without a network, copy it where there is one (hf download {repo} --local-dir FOLDER"
        f"{f' --revision {revision}' if revision else ''}) and say --checkpoint FOLDER"
    )

    def snapshot(patterns: Sequence[str], at: str | None, *, local: bool) -> Path:
        found = snapshot_download(
            repo, revision=at, allow_patterns=list(patterns), ignore_patterns=["*/*"], local_files_only=local
        )
        return Path(found)

    try:
        try:
            at = HfApi(library_name="manta").model_info(repo, revision=revision or None, timeout=10).sha
            folder = snapshot(files, at, local=False)
            return folder if any(folder.glob("*.safetensors")) else snapshot([*files, *pickles], at, local=False)
        except (OfflineModeIsEnabled, HTTPError, OSError) as error:  # no network: what an earlier run fetched will do
            if isinstance(error, HfHubHTTPError):
                raise
            with contextlib.suppress(OSError, ValueError):
                return snapshot([*files, *pickles], revision or None, local=True)
            raise
    except GatedRepoError as error:
        message = f"checkpoint {ref} is gated: ask for access on its Hub page and log in (hf auth login); {remedy}"
        raise CheckpointError(message) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"checkpoint {repo} has no revision {revision!r} on the Hub: take another") from error
    except RepositoryNotFoundError as error:
        message = f"no checkpoint {repo} on the Hub, or it is private: check the name, or log in (hf auth login)"
        raise CheckpointError(message) from error
    except (HTTPError, OSError, ValueError) as error:  # no network, offline mode, no disk, a broken cache
        raise CheckpointError(
            f"checkpoint {ref} cannot be had from the Hub ({first_line(error, 200)}); {remedy}"
        ) from error


def from_s3(ref: str, patterns: Sequence[str]) -> Path:
    """The files of an ``s3://`` folder; downloaded again where their list, sizes or etags are others."""
    from stages.storage_s3 import file_system

    system = file_system()  # says what to install where s3fs is missing
    from botocore.exceptions import BotoCoreError

    prefix = ref.removeprefix("s3://").rstrip("/")
    try:
        found = [each for each in system.ls(prefix, detail=True) if each["type"] == "file"]
        wanted = [each for each in found if any(fnmatch(Path(each["name"]).name, pattern) for pattern in patterns)]
        if not wanted:
            raise CheckpointError(f"no checkpoint {ref}: the folder holds no such files, or does not exist")
        version = "\n".join(f"{each['name']} {each['size']} {each.get('ETag', '')}" for each in wanted)

        def download(folder: Path) -> None:
            for each in wanted:
                system.get_file(each["name"], str(folder / Path(each["name"]).name))

        return kept(f"{ref}\n{version}", download)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint {ref}: the bucket or folder does not exist") from error
    except (OSError, BotoCoreError) as error:
        raise CheckpointError(
            f"checkpoint {ref} cannot be read ({first_line(error, 200)}): see manta doctor"
        ) from error


def kept(key: str, download: Callable[[Path], None]) -> Path:
    """The folder of that key in the cache; ``download`` fills it where it is not there, whole or not at all."""
    target = cache() / hashlib.sha256(key.encode()).hexdigest()[:32]
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".part-"))
    try:
        download(aside)
        try:
            aside.rename(target)
        except OSError:  # another process was first
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target
