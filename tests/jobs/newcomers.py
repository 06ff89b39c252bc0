"""A 21st family as the skeleton writes it, there for the time of a block: as one file, or as an installed package."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pipelines

OWN_TASK = '''

class Shouting(TextClassification):
    """Classifies what a text is when it is shouted: a task that only this package has."""

    name = "shouting"
    summary = "the label of a text with an exclamation mark"

    def encode(self, row):
        """The text, shouted."""
        return super().encode({**row, "text": text_of(row) + " !"})


CLASSES["shouting"] = CLASSES["text-classification"]
FAMILY = dataclasses.replace(FAMILY, tasks=(Features, Shouting))
'''
IMPORTS = "import dataclasses\nfrom pipelines.tasks.base_text import text_of\nfrom pathlib"


@contextmanager
def one_file(skeleton: Path, name: str) -> Iterator[str]:
    """The skeleton's module as a file of pipelines/ (a second folder of that package)."""
    folder = skeleton.parent / "pipelines"
    folder.mkdir()
    (folder / f"{name}.py").write_text((skeleton / f"manta_{name}.py").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines, "__path__", [*pipelines.__path__, str(folder)])
        yield name
    sys.modules.pop(f"pipelines.{name}", None)


@contextmanager
def installed(skeleton: Path, site: Path) -> Iterator[str]:
    """The skeleton with a task of its own, as pip installs it into ``site``: a module, and what it tells."""
    project = tomllib.loads((skeleton / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["py-modules"]
    code, told = site / f"{module}.py", site / f"{module}-{project['project']['version']}.dist-info"
    code.write_text((skeleton / code.name).read_text().replace("from pathlib", IMPORTS) + OWN_TASK)
    told.mkdir(exist_ok=True)
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1.0\n")
    points = project["project"]["entry-points"]["manta.families"]
    lines = [f"{name} = {value}" for name, value in points.items()]
    (told / "entry_points.txt").write_text("\n".join(["[manta.families]", *lines, ""]))
    importlib.invalidate_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield str(next(iter(points)))
    sys.modules.pop(module, None)
    for path in (code, told / "entry_points.txt"):
        path.unlink()
