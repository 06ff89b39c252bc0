"""Which parts a finished run left in order, so that the next one need not read them to plan.

``.settled.json`` names each part with its version: all its rows belong to documents that are complete under the
fingerprint (or that nobody lists). A part that anyone wrote since has another version and is read again. The file only
saves time: without it everything is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from stages.storage import Storage

_NAME = ".settled.json"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The parts that are in order, and under which fingerprints."""

    fingerprint: str = ""
    read_fingerprint: str = ""
    pages: str = ""
    """URI of the storage that holds pages/."""
    listing: str = ""
    """Digest of the documents that were listed: rows of others were left as they were."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Name to version."""

    @classmethod
    def load(cls, storage: Storage, *, fingerprint: str, read_fingerprint: str, pages: Storage) -> Settled:
        """What a run with these fingerprints and this pages/ may rely on; nothing where one of them differs."""
        try:
            found = cls(**json.loads(storage.read(_NAME)))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()
        same = (found.fingerprint, found.read_fingerprint, found.pages) == (fingerprint, read_fingerprint, pages.uri)
        return found if same else cls()

    def save(self, storage: Storage) -> None:
        """Leaves it for the next run."""
        storage.put(_NAME, json.dumps(asdict(self)).encode())
