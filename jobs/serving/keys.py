"""API keys: read from the environment or a file, kept as hashes, compared in constant time.

Replicas are given SHA-256 hashes only: Ray keeps the arguments of actors where its dashboard shows them. A key has 24
characters or more, so that a hash cannot be turned back by trying.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.serving.settings import Endpoint
from stages.errors import UsageError

SHORTEST = 24
"""Characters of the shortest key."""
_NAMED = re.compile(r"(?:([\w.-]{1,40})=)?([^=]\S*)")
"""NAME=KEY, or KEY, which base64 may have ended with ``=``."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key that opens the endpoint."""

    name: str
    """What logs call its holder."""
    digest: bytes
    """SHA-256 of the key."""


def read_keys(endpoint: Endpoint) -> tuple[Key, ...]:
    """The keys that open the endpoint; none where it is open to all on loopback.

    Raises UsageError where they cannot be read, are too short, or are missing beyond loopback.
    """
    texts = []
    if endpoint.keys_env:
        if not os.environ.get(endpoint.keys_env):
            raise UsageError(f"serve.keys_env: the environment variable {endpoint.keys_env} is not set")
        texts.append(os.environ[endpoint.keys_env])
    if endpoint.keys_file:
        try:
            texts.append(Path(endpoint.keys_file).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"serve.keys_file {endpoint.keys_file} cannot be read: {error}") from error
    words = [word for text in texts for word in re.split(r"[\s,]+", text) if word]
    keys = tuple(_key(word, number) for number, word in enumerate(words, 1))
    if texts and not keys:
        raise UsageError("serve.keys_env or serve.keys_file is set and holds no key")
    if not keys and not is_loopback(endpoint.host):
        raise UsageError(
            f"serve.host {endpoint.host} is open to other machines, and no keys are set: name an environment variable "
            "with serve.keys_env or a file with serve.keys_file, or listen on 127.0.0.1"
        )
    return keys


def _key(word: str, number: int) -> Key:
    found = _NAMED.fullmatch(word)
    name, key = (found[1], found[2]) if found else (None, word)
    if len(key) < SHORTEST:  # told by its number: what looks like a name may be part of a key
        raise UsageError(f"key number {number} has fewer than {SHORTEST} characters: try openssl rand -hex 32")
    return Key(name=name or f"key-{number}", digest=digest(key))


def digest(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def holder(given: str, keys: Sequence[Key]) -> str | None:
    """The name of the key that was given; None for a wrong one. Looks at all keys, whichever it is."""
    ours, found = digest(given), None
    for key in keys:
        if hmac.compare_digest(ours, key.digest):
            found = key.name
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
