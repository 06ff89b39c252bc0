"""The project's own files agree with each other."""

from __future__ import annotations

import os
import re
import stat
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import jobs

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINS = {
    canonicalize_name(line.partition("==")[0]): line.strip().partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line.strip() and not line.startswith("#")
}
REQUIREMENTS = [
    Requirement(text)
    for group in (PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values())
    for text in group
]
SOURCES = sorted(path for folder in ("stages", "pipelines", "jobs") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("one", REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_to_a_version_that_fits(one: Requirement) -> None:
    pin = PINS.get(canonicalize_name(one.name))
    assert pin, f"{one.name} is not in constraints.txt"
    assert one.specifier.contains(pin, prereleases=True)


def test_pins_are_exact() -> None:
    assert [name for name, version in PINS.items() if not re.fullmatch(r"[\w.!]+", version)] == []
    assert PINS["torch"] == "2.13.0"
    assert "torch==2.13.0" in (ROOT / "Makefile").read_text("utf-8")


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {str(path): lines for path, lines in lengths.items() if lines > 400} == {}
    assert statistics.median(lengths.values()) < 150


def test_every_folder_of_code_is_packaged() -> None:
    folders = {path.parent for path in SOURCES}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_files_that_are_no_code_are_packaged() -> None:
    wanted = PROJECT["tool"]["setuptools"]["package-data"]["jobs"]
    found = {path.suffix for path in (ROOT / "jobs").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    packaged = {Path(pattern).suffix for pattern in wanted}
    assert found - packaged <= {".py", ".png"}  # the picture is for the README


def test_python_has_the_same_run() -> None:
    assert jobs.__all__ == ["run"]
    code = "import sys, jobs; sys.exit(bool({'ray', 'torch', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_licence_is_apache() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")[:200]
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert [line for line in script.read_text("utf-8").splitlines() if line.startswith("make")] == [
        "make test </dev/null",
        "make check </dev/null",
    ]
    assert "\nmake test " in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        (
            "setup",
            ["venv .venv", "install --no-compile  torch==2.13.0", "install --no-compile -c constraints.txt -e ."],
        ),
        ("demo", ["tesseract:", "-e '.[train,demo]'", "bin/manta demo"]),
        ("test", ["-e '.[s3,train,submit,serve,media,demo,test,dev]'", "chromium:", "-m pytest"]),
        ("check", ["ruff check", "ruff format --check", "mypy", "lint-imports", "jobs.readme --check"]),
    ],
)
def test_a_target_installs_what_it_needs_and_does_its_work(target: str, commands: list[str]) -> None:
    steps = subprocess.run(
        ["make", "-n", "VENV=.venv-not-there" if target == "setup" else "HASH=new", target],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.replace(".venv-not-there", ".venv")  # fmt: skip
    places = [steps.find(command) for command in commands]
    assert -1 not in places, steps
    assert places == sorted(places)


# ---- programs that apt brings


def need(tmp_path: Path, *pairs: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Runs need.sh where only these programs (name to script) are there."""
    for name, script in {"bash": 'exec /bin/bash "$@"', "id": "echo 1000", **programs}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return subprocess.run(
        ["/bin/bash", str(ROOT / "infra/debian/need.sh"), *pairs],
        env={**os.environ, "PATH": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_nothing_is_done_where_all_is_there(tmp_path) -> None:
    done = need(tmp_path, "reader:reader-package", "ensurepip:python3-venv", reader="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_packages_are_installed_and_named(tmp_path) -> None:
    log = tmp_path / "log"
    tools = {"apt-get": f'echo "$@" >> {log}', "env": 'shift; exec "$@"', "sudo": 'exec "$@"'}
    done = need(tmp_path, "reader:reader-package,reader-data", "other:other-package", **tools)
    assert done.returncode == 0, done.stderr
    assert "missing: reader other; installing with apt: reader-package reader-data other-package" in done.stdout
    assert log.read_text().splitlines() == [
        "update -qq",
        "install -y --no-install-recommends reader-package reader-data other-package -qq",
    ]


def test_without_rights_the_command_is_told(tmp_path) -> None:
    done = need(tmp_path, "reader:reader-package", **{"apt-get": ""})
    assert done.returncode == 1
    assert "as root, run: apt-get update && apt-get install -y --no-install-recommends reader-package" in done.stderr


def test_without_apt_the_packages_are_told(tmp_path) -> None:
    done = need(tmp_path, "reader:reader-package")
    assert done.returncode == 1
    assert "install what Debian calls: reader-package" in done.stderr


def test_a_failing_apt_is_told(tmp_path) -> None:
    tools = {"apt-get": '[ "$1" = update ]', "env": 'shift; exec "$@"', "sudo": 'exec "$@"'}
    done = need(tmp_path, "reader:reader-package", **tools)
    assert done.returncode == 1
    assert "apt could not install reader-package" in done.stderr
