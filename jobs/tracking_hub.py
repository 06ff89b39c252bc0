"""A trained checkpoint to the Hugging Face Hub, or to a server that speaks as it does (HF_ENDPOINT).

The token is HF_TOKEN of the environment: none is taken from a command line, a file or a prompt. A repository that is
not there is made, and private: what a model learned from may not be everyone's business.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from jobs.tracking_store import redact
from pipelines.checkpoint import content_files, resolve
from stages.errors import MantaError, UsageError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def check_hub(repo: str) -> None:
    """Raises UsageError where nothing could be pushed to ``repo``: found out before anything is trained."""
    if not _REPO.fullmatch(repo):
        raise UsageError(f"--push-to-hub {repo!r} is no repository: say OWNER/NAME")
    if not os.environ.get("HF_TOKEN"):
        raise UsageError(f"--push-to-hub {repo}: set HF_TOKEN to an access token that may write there")
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    api = _api()
    try:
        api.whoami()
    except OfflineModeIsEnabled as error:
        raise UsageError(
            f"--push-to-hub {repo}: HF_HUB_OFFLINE forbids it; unset that, or push model/ later"
        ) from error
    except HfHubHTTPError as error:
        raise UsageError(
            f"--push-to-hub {repo}: {api.endpoint} refuses the token of HF_TOKEN: {_line(error)}"
        ) from error
    except (HTTPError, OSError) as error:
        raise UsageError(f"--push-to-hub {repo}: {api.endpoint} cannot be reached ({_line(error)})") from error


def push(model: str, repo: str) -> str:
    """Uploads the checkpoint's files and its card in one commit; returns the commit's URL.

    Raises MantaError where that fails: the checkpoint stays where it is.
    """
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    folder = resolve(model).folder
    names = [*(path.name for path in content_files(folder)), "README.md"]
    api = _api()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=names, commit_message="Fine-tuned with Manta"
        )
    except (HTTPError, OSError, ValueError) as error:
        raise MantaError(f"the model is trained, in {model}, but not pushed to {repo}: {_line(error)}") from error
    return str(done.commit_url)


def _api() -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ["HF_TOKEN"], library_name="manta")


def _line(error: Exception) -> str:
    """The first line of an error, without the token."""
    return redact(first_line(error).replace(os.environ["HF_TOKEN"], "***"))[:300]
