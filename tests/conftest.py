"""What all tests share: no network and no home, one Ray cluster a session, tiny checkpoints made once."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.gloo import Workers

#: The session's scratch folder. Short, because Ray puts sockets below it and a socket's path has at most 107 bytes.
SCRATCH = Path(tempfile.mkdtemp(prefix="manta-"))

# Before anything imports ray, transformers or mlflow: these read the environment once, and workers inherit it.
HOME = SCRATCH / "home"
HOME.mkdir()
#: Packages that a test installs for this process and for Ray's workers.
SITE = SCRATCH / "site"
SITE.mkdir()
os.environ.update(
    {
        "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(SITE)))),
        "HOME": str(HOME),
        "XDG_CACHE_HOME": str(HOME / "cache"),
        "HF_HOME": str(HOME / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{SCRATCH / 'mlflow.db'}",  # one store a session: making one takes 1.3 s
        "OMP_THREAD_LIMIT": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # a report takes 0.1 s instead of 2, the teardown 0.8 instead of 5
    },
)
for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "AWS_PROFILE", "MLFLOW_EXPERIMENT_NAME", "NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)

settings.register_profile("manta", deadline=None)  # how long an example takes is the machine's matter
settings.load_profile("manta")

SERVING = "tests/jobs/serving/"
TinyFolder = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def site() -> Path:
    """A folder of packages that this process's children import, Ray's workers too."""
    return SITE


def pytest_collection_finish() -> None:
    """Takes what the test files have imported out of garbage collection: the Trainer collects at each start, and every
    time would take 0.3 s."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """Takes the scratch folder away at the end: each of pytest-xdist's processes has its own."""
    shutil.rmtree(SCRATCH, ignore_errors=True)


class _ByFile(LoadFileScheduling):
    """Tests of one file go to one process; so do those of an endpoint, which takes long to start."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return SERVING if file.startswith(SERVING) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """How pytest-xdist deals out tests."""
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One cluster of this process's own for the whole session: 2 CPUs, loopback, ports that the system picks."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=300 * 10**6,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=str(SCRATCH / "ray"),
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Three processes that can form process groups, started at the first use."""
    from tests.gloo import workers

    with workers(tmp_path_factory.mktemp("gloo")) as found:
        yield found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """``tiny(family, task)``: the folder of that family's tiny random checkpoint, made at its first use. Read only:
    a test that changes files copies it first. pytest-xdist's processes share them."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny"
    folder.mkdir(exist_ok=True)

    def make(family: str, task: str) -> Path:
        from pipelines import family as find

        path = folder / f"{family}-{task}"
        if not path.exists():
            aside = Path(tempfile.mkdtemp(dir=folder))
            find(family).tiny(aside, task)
            with suppress(OSError):  # another process was quicker
                aside.rename(path)
        return path

    return make
