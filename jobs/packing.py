"""What travels to the cluster with a job: Manta's code and the config file that the command names, no data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import jobs
from stages.errors import UsageError

PACKAGES = ("stages", "pipelines", "jobs")
SUFFIXES = frozenset({".py", ".html", ".css", ".js", ".yaml", ".typed"})
"""What the packages consist of; anything else in their folders stays here."""
MOST_BYTES = 20_000_000
"""Ray's dashboard takes up to 100 MB; this is far more than the code and a config file need."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """What is sent."""

    folder: Path | None
    """The job's working folder; None where nothing travels."""
    words: tuple[str, ...]
    """The command, its config file named as it lies in ``folder``."""


@contextmanager
def packed(words: Sequence[str], *, code: bool) -> Iterator[Package]:
    """The command ``words`` and what it needs, in a folder that is gone afterwards. ``code``: Manta's own code too.

    Raises UsageError for a config file that cannot be read, or is no settings file by its size.
    """
    with TemporaryDirectory(prefix="manta-submit-") as name:
        folder = Path(name)
        if code:
            _copy_code(folder)
        sent = _with_config(words, folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise UsageError(f"{size / 1e6:.0f} MB would travel with the job, {MOST_BYTES / 1e6:.0f} MB may")
        yield Package(folder=folder if any(folder.iterdir()) else None, words=sent)


def _copy_code(folder: Path) -> None:
    root = Path(jobs.__file__).parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                target = folder / path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


def _with_config(words: Sequence[str], folder: Path) -> tuple[str, ...]:
    """The words with ``--config`` naming a copy in ``folder``. A file that is not here is the cluster's."""
    sent = list(words)
    for i, word in enumerate(sent):
        option, equals, path = word.partition("=")
        if option != "--config" or not (equals or i + 1 < len(sent)):
            continue
        path = path if equals else sent[i + 1]
        if not Path(path).is_file():
            continue
        copy = f"config{Path(path).suffix}"
        shutil.copyfile(path, folder / copy)
        sent[i if equals else i + 1] = f"--config={copy}" if equals else copy
    return tuple(sent)
