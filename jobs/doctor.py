"""``manta doctor``: what is there on this machine, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from stages.errors import UsageError

State = Literal["ok", "missing", "optional"]
EXTRAS = ("s3", "train", "submit", "serve", "media", "demo", "test", "dev")
_MARKS: dict[State, str] = {"ok": "ok     ", "missing": "MISSING", "optional": "-      "}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    """missing: Manta does not work as it should; optional: only what ``found`` says does without it."""
    found: str
    mend: str = ""
    """The command that mends it."""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        line = f"{_MARKS[self.state]}  {self.name}: {self.found}"
        return f"{line}\n           mend it: {self.mend}" if self.mend else line


def examine() -> list[Check]:
    """Looks at everything; takes a second or two."""
    return [
        _python(),
        _packages(),
        _language_data(),
        _tesseract(),
        _poppler(),
        *(_extra(extra) for extra in EXTRAS),
        _browser(),
        _memory(),
        _shared_memory(),
        _disk(),
        _sandbox(),
        _torch(),
        _ray(),
    ]


def _python() -> Check:
    return Check(name="python", state="ok", found=f"{platform.python_version()} at {sys.executable}")


def _packages() -> Check:
    wrong = _unmet("")
    if not wrong:
        return Check(
            name="packages", state="ok", found=f"manta {importlib.metadata.version('manta')} and what it needs"
        )
    return Check(name="packages", state="missing", found="; ".join(wrong), mend=_pip("."))


def _extra(extra: str) -> Check:
    name, wrong = f"extra {extra}", _unmet(extra)
    if not wrong:
        return Check(name=name, state="ok", found="installed")
    return Check(name=name, state="optional", found=f"not installed ({wrong[0]})", mend=_pip(f".[{extra}]"))


def _pip(what: str) -> str:
    return f"{sys.executable} -m pip install -c constraints.txt -e '{what}'"


def _unmet(extra: str) -> list[str]:
    """Requirements of Manta (``""``) or of one extra that are not installed, or in a version that does not fit."""
    wrong = []
    for text in importlib.metadata.requires("manta") or ():
        one = Requirement(text)
        if bool(one.marker and "extra" in str(one.marker)) != bool(extra):
            continue
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
        else:
            if not one.specifier.contains(version, prereleases=True):
                wrong.append(f"{one.name} is {version}, needs {one.specifier}")
    return wrong


def _language_data() -> Check:
    from stages.ocr import language_files, tessdata

    name = "tesseract language data"
    try:
        language_files("eng")
    except UsageError as error:
        return Check(name=name, state="missing", found=str(error), mend=_apt("tesseract-ocr tesseract-ocr-eng"))
    there = sorted(file.stem for file in tessdata().glob("*.traineddata"))
    return Check(name=name, state="ok", found=f"{', '.join(there)} in {tessdata()}")


def _tesseract() -> Check:
    what = "the engine ocr.engine=pytesseract, and the second try on pages where tesserocr fails"
    return _program("tesseract", "tesseract", "tesseract-ocr", what)


def _poppler() -> Check:
    what = "the engine render.engine=poppler, and the second try on files that pdfium cannot open"
    return _program("poppler", "pdftoppm", "poppler-utils", what)


def _program(name: str, program: str, package: str, what: str) -> Check:
    path = shutil.which(program)
    if path:
        return Check(name=name, state="ok", found=path)
    return Check(name=name, state="missing", found=f"no {program} on the PATH; it is {what}", mend=_apt(package))


def _browser() -> Check:
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if all(paths):
        return Check(name="chromium", state="ok", found=str(paths[0]))
    found = "not installed; only the tests of the report need it"
    return Check(name="chromium", state="optional", found=found, mend=_apt("chromium chromium-driver"))


def _apt(packages: str) -> str:
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install -y --no-install-recommends {packages}"


def _memory() -> Check:
    memory = psutil.virtual_memory()
    cores = os.cpu_count() or 1
    found = f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free, {cores} cores"
    if memory.available >= 2 * 2**30:
        return Check(name="memory", state="ok", found=found)
    return Check(name="memory", state="missing", found=f"{found}; a run wants 2 GiB free", mend="end other programs")


def _shared_memory() -> Check:
    if not Path("/dev/shm").exists():  # noqa: S108 - where Ray keeps its objects
        return Check(name="shared memory", state="optional", found="no /dev/shm: Ray keeps objects on disk, slowly")
    free = shutil.disk_usage("/dev/shm").free  # noqa: S108
    found = f"{free / 2**30:.1f} GiB free in /dev/shm"
    if free >= 2**29:
        return Check(name="shared memory", state="ok", found=found)
    mend = "mount -o remount,size=2g /dev/shm (a container: docker run --shm-size=2g)"
    return Check(name="shared memory", state="missing", found=f"{found}; Ray wants 0.5 GiB", mend=mend)


def _disk() -> Check:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free in {folder}, where Ray keeps its session"
    if free >= 2**30:
        return Check(name="disk", state="ok", found=found)
    return Check(
        name="disk", state="missing", found=f"{found}; it wants 1 GiB", mend="export RAY_TMPDIR=/a/larger/disk"
    )


def _sandbox() -> Check:
    from stages.sandbox import sandbox_level

    return Check(
        name="sandbox", state="ok", found=f"{sandbox_level()} (what this kernel lets native code be kept from)"
    )


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check(
            name="torch", state="missing", found=str(error), mend=f"{sys.executable} -m pip install torch==2.13.0"
        )
    from stages.hardware import native_bfloat16

    gpus = torch.cuda.device_count()
    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(gpus)] or ["cpu"]
    native = native_bfloat16(torch.device("cuda" if gpus else "cpu"))
    number = "bfloat16" if native else "float32 (bfloat16 is not native here)"
    found = f"{torch.__version__} on {', '.join(devices)}; predict.dtype=auto is {number}"
    if not gpus and shutil.which("nvidia-smi"):
        mend = "install a torch that fits the driver: https://pytorch.org/get-started/locally"
        return Check(name="torch", state="missing", found=f"{found}, though nvidia-smi is there", mend=mend)
    return Check(name="torch", state="ok", found=found)


def _ray() -> Check:
    found = f"{importlib.metadata.version('ray')}; RAY_AUTH_MODE is {os.environ.get('RAY_AUTH_MODE') or 'not set'}"
    if os.environ.get("RAY_AUTH_TOKEN_PATH") and not Path(os.environ["RAY_AUTH_TOKEN_PATH"]).is_file():
        path = os.environ["RAY_AUTH_TOKEN_PATH"]
        mend = f"ray get-auth-token --generate > {path}, or unset RAY_AUTH_TOKEN_PATH"
        return Check(name="ray", state="missing", found=f"{found}; no token at {path}", mend=mend)
    return Check(name="ray", state="ok", found=f"{found} (a cluster of Manta's own needs none)")
