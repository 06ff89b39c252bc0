"""Packages that only some commands need, and the extras of Manta that bring them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from stages.errors import UsageError


def need(what: str, packages: Sequence[str], extras: str) -> None:
    """Raises UsageError that names the missing ``packages`` and the command that installs them.

    ``extras``: names of extras, comma separated.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}: pip install 'manta[{extras}]'")
