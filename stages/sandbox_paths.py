"""Where the sandbox child imports from and what it may read: exactly what Python, the engines and fonts need.

The Python installation may itself lie in the home folder (pyenv, a virtual environment): then only its own folders
there are readable, nothing beside them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store",
    "/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives", "/etc/localtime", "/etc/nsswitch.conf",
    "/etc/ssl/openssl.cnf", "/var/cache/fontconfig", "/var/lib/poppler-data",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
    "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip
"""Programs, libraries, fonts and the machine's shape; no accounts, no keys, no other processes."""


@cache
def import_paths(target: str) -> tuple[str, ...]:
    """``sys.path`` for the child: ours, and the places of this package and of ``target`` (editable installs)."""
    ours = [path for path in sys.path if os.path.isabs(path)]  # noqa: PTH117
    homes = [str(place.parent) for place in (_place(__package__), _place(target))]
    return tuple(dict.fromkeys([*ours, *homes]))


@cache
def readable_paths(target: str, more: tuple[str, ...]) -> tuple[str, ...]:
    """What the child may read, files and folders, as absolute paths that exist."""
    python = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()]
    python.append(str(Path(sys.executable).resolve().parent.parent))
    # Folders that pip installs into are read whole; of others on sys.path, only the packages that the child imports.
    python += [path for path in sys.path if _is_site(path)]
    packages = [str(_place(__package__)), str(_place(target))]
    data = [
        os.environ[name] for name in ("TESSDATA_PREFIX", "FONTCONFIG_FILE", "FONTCONFIG_PATH") if name in os.environ
    ]
    wanted = [*_SYSTEM, *python, *packages, *data, *more]
    return tuple(dict.fromkeys(path for path in wanted if _may_be_read(path)))


def _place(module: str) -> Path:
    """The folder of the package, or the file of the module, that ``module`` (a target or dotted name) begins with."""
    name = module.partition(":")[0].partition(".")[0]
    if name == __package__:
        return Path(__file__).parent.absolute()
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {name!r}, which the sandbox should load")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).absolute()
    return Path(str(spec.origin)).absolute()


def _is_site(path: str) -> bool:
    folder = Path(path)
    return folder.name in ("site-packages", "dist-packages") or next(folder.glob("*.dist-info"), None) is not None


def _may_be_read(path: str) -> bool:
    """Whether it exists and is not the home folder, nor one above it."""
    whole = os.path.realpath(path)
    home = os.path.realpath(Path.home())
    return os.path.lexists(path) and os.path.commonpath([whole, home]) != whole
