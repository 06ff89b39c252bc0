"""One endpoint for all tests of serving: every family's tiny checkpoints in one process, keys, small limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from jobs.bench.common.clients import free_port
from jobs.skeleton import write_skeleton
from pipelines import families, family
from tests.jobs.newcomers import installed, one_file

KEYS = {"alice": "alice-" + 30 * "a", "bob": "bob-" + 30 * "b"}
ALONE = ("bert", "text-classification")
"""Has processes of its own, to be killed and replaced."""
LIMITS = {"body_mb": 3, "pages": 5, "rows": 40, "queue": 24, "queue_mb": 40, "timeout_s": 60}


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint, as a client sees it."""

    url: str
    config: Path
    key: str = KEYS["alice"]

    def ask(self, method: str, path: str, **more: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=120, **more)

    def post(self, path: str, **more: object) -> requests.Response:
        return self.ask("POST", path, **more)

    def get(self, path: str, **more: object) -> requests.Response:
        return self.ask("GET", path, **more)

    def send(self, path: str, file: Path, **fields: str) -> requests.Response:
        """A document as a form."""
        with file.open("rb") as content:
            return self.post(path, files={"file": (file.name, content)}, data=fields)


def tiny_models(tiny) -> list[dict[str, object]]:
    """An entry for every task of every family, all in the processes of the first but ``ALONE``."""
    entries: list[dict[str, object]] = []
    for name in families():
        for task in family(name).tasks:
            entry: dict[str, object] = {"family": name, "task": task.name, "checkpoint": str(tiny(name, task.name))}
            entry["predict"] = {"dtype": "float32", "device": "cpu"}
            own = not entries or (name, task.name) == ALONE
            entry |= {"cpus": 0.2} if own else {"beside": f"{entries[0]['family']}-{entries[0]['task']}"}
            entries.append(entry)
    return entries


@pytest.fixture(scope="package")
def added(site, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """Two families that Manta does not have: one file, and another package's."""
    folder = tmp_path_factory.mktemp("added")
    file, package = write_skeleton("mini", folder), write_skeleton("loud", folder)
    with one_file(file, "mini") as one, installed(package, site) as other:
        yield one, other


@pytest.fixture(scope="package")
def endpoint(ray_local, tiny, added, tmp_path_factory) -> Iterator[Endpoint]:
    """What `manta serve` starts for a config file."""
    from jobs.serve import serving
    from jobs.serving.config import read_config

    folder = tmp_path_factory.mktemp("serve")
    keys = folder / "keys"
    keys.write_text("".join(f"{name}={key}\n" for name, key in KEYS.items()))
    config = {
        "serve": {"port": free_port(), "keys_file": str(keys), **LIMITS},
        "documents": {"cpus": 0.2},
        "render": {"dpi": 100},
        "models": tiny_models(tiny),
    }
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    os.environ.pop("MANTA_KEYS", None)
    with serving(read_config(str(path))) as url:
        yield Endpoint(url, path)
