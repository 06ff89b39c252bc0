"""Environment values on their way to a cluster's job: encrypted with the cluster's own token.

Ray writes a job's ``env_vars`` into the logs of every machine (runtime_env_agent.log) and keeps them readable in its
tables (Ray 2.60). So a secret travels as one encrypted value. Who holds the cluster's token can read it, and nobody
else: the job's processes have that token from the machine they run on.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from stages.errors import UsageError

NAME = "MANTA_SEALED"
"""The environment variable that holds the encrypted values."""
HOOK = "jobs.sealed.unseal_environment"
"""What every worker process of the job runs first; its driver, which Ray starts without, is ``manta`` itself."""
_PURPOSE = b"manta submit: environment of a job"


def ray_token() -> str:
    """The token of this machine's user, found where Ray looks for it: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH,
    ``~/.ray/auth_token``. Empty where there is none. Raises UsageError for a file that cannot be read."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    try:
        return str(loader.get_raw_token(ignore_auth_mode=True))
    except AuthenticationError as error:
        path = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
        raise UsageError(f"RAY_AUTH_TOKEN_PATH: no token can be read from {path}") from error


def seal(values: Mapping[str, str], token: str) -> str:
    """Names and values, encrypted and signed (AES-128-CBC with HMAC-SHA256) under ``token``."""
    from cryptography.fernet import Fernet

    return Fernet(_key(token)).encrypt(json.dumps(dict(values)).encode()).decode()


def unseal(text: str, token: str) -> dict[str, str]:
    """What ``seal`` was given. Raises UsageError where ``token`` is another one."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        values: dict[str, str] = json.loads(Fernet(_key(token)).decrypt(text.encode()))
    except InvalidToken as error:
        raise UsageError(f"{NAME} was sealed for a cluster with another token: submit the job anew") from error
    return values


def unseal_environment() -> None:
    """Puts the sealed values into this process's environment; does nothing where there are none."""
    sealed = os.environ.pop(NAME, "")
    if sealed:
        os.environ.update(unseal(sealed, ray_token()))


def _key(token: str) -> bytes:
    """A key of its own, so that what is sealed tells nothing of the token."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return base64.urlsafe_b64encode(HKDF(SHA256(), 32, None, _PURPOSE).derive(token.encode()))
