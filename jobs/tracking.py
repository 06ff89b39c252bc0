"""MLflow: one run an invocation. All calls to the store happen on one thread of their own, in order, so that a slow
store never holds up a run; only ``run_id`` and ``close`` wait for it.

The store is what MLFLOW_TRACKING_URI names; without it, sqlite in ``OUTPUT/mlflow/`` of a local output, else
``mlflow.db`` in the working folder. It is made here, before any worker starts: processes that make one database at
once break it. A store that cannot be reached ends the run before it starts; one that goes away later is told once.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.compute as pc

from jobs.tracking_store import (
    close_left_behind,
    experiment_id,
    open_client,
    process_tags,
    redact,
    store_for,
)
from pipelines.checkpoint_mlflow import set_defaults
from stages.errors import UsageError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "manta"
Kind = Literal["run", "train"]
_T = TypeVar("_T")
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_LOG = logging.getLogger(__name__)
_LONGEST_VALUE = 6000  # MLflow's limit for a parameter, in characters


@dataclass(kw_only=True)
class Inputs:
    """A listing, folded into one digest as it passes by."""

    documents: int = 0
    bytes: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, listed: pa.Table) -> None:
        """Takes in rows of uri, source and size, in the listing's order."""
        self.documents += listed.num_rows
        self.bytes += pc.sum(listed["size"]).as_py() or 0
        for chunk in pc.binary_join_element_wise(listed["uri"], listed["source"], "\n", "\t").chunks:
            data = chunk.buffers()[2]
            if data is not None:
                self._hash.update(data)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over every uri and source so far."""
        return self._hash.hexdigest()[:32]


class Tracking:
    """One MLflow run. ``start`` or ``start_async``, then whatever there is to tell, then ``close``."""

    def __init__(self, output: str, *, shared: bool = False) -> None:
        """``output``: URI of what the run writes; says where its store lies. ``shared``: as ``store_for`` has it."""
        self.output, self.store = output, store_for(output, shared=shared)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._client: MlflowClient
        self._ready: Future[str]
        self._metrics: Future[None] | None = None
        self._began = time.monotonic()
        self._told = self._closed = False

    @classmethod
    def start_async(
        cls, kind: Kind, *, output: str, name: str, experiment: str = EXPERIMENT, shared: bool = False
    ) -> Tracking:
        """Opens a run and returns at once; ``run_id`` waits for it.

        ``name`` is the run's name. MLFLOW_EXPERIMENT_NAME goes before ``experiment``. ``shared``: others are to find
        in its store what the run leaves there (a registered model).
        """
        tracking = cls(output, shared=shared)
        _LOG.disabled = False  # logging set-ups of Ray and alembic switch off what was there before them
        if tracking.store.notice:
            _LOG.warning(tracking.store.notice)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
        tags = {"manta.kind": kind, "manta.output": redact(output), **process_tags()}
        tracking._ready = tracking._thread.submit(tracking._start, experiment, name, tags)
        atexit.register(tracking._at_exit)
        return tracking

    @classmethod
    def start(cls, kind: Kind, *, output: str, name: str, experiment: str = EXPERIMENT) -> Tracking:
        """Opens a run. Raises UsageError where the store cannot be had."""
        tracking = cls.start_async(kind, output=output, name=name, experiment=experiment)
        assert tracking.run_id
        return tracking

    @property
    def run_id(self) -> str:
        """The run's id. Raises UsageError where the store cannot be had."""
        return self._ready.result()

    def opened(self) -> bool:
        """Waits until the run is open; False where its store cannot be had, which ``run_id`` raises."""
        return self._ready.exception() is None

    def ask(self, call: Callable[[MlflowClient, str], _T]) -> _T:
        """What ``call`` answers to the store's client and the run's id, after all that was told before.

        Raises UsageError where the store cannot be had, and what ``call`` raises.
        """
        return self._thread.submit(lambda: call(self._client, self.run_id)).result()

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags of the run."""
        told = {name: redact(value)[:_LONGEST_VALUE] for name, value in values.items()}
        self._later(lambda: self._set_tags(told))

    def params(self, values: Mapping[str, object]) -> None:
        """Writes parameters down; credentials in URIs are left out."""
        told = [(name, redact(str(value))[:_LONGEST_VALUE]) for name, value in values.items()]
        for start in range(0, len(told), 100):  # MLflow takes 100 at once
            self._later(partial(self._log_params, told[start : start + 100]))

    def metrics(self, values: Mapping[str, float], *, last: bool = False, step: int | None = None) -> None:
        """One point of each metric; its step is the seconds since the start, unless one is given.

        Points are left out while the store is still busy with earlier ones, but not the ``last`` ones.
        """
        if self._metrics is not None and not self._metrics.done() and not last:
            return
        at = int(time.time() * 1000)
        step = round(time.monotonic() - self._began) if step is None else step
        points = [(name, float(value), at, step) for name, value in values.items()]
        self._metrics = self._later(partial(self._log_metrics, points))

    def inputs(self, uris: Sequence[str], listed: Inputs, *, context: str = "input") -> None:
        """The input listing as a dataset: its digest changes when a file is added, changed or removed."""
        counts = {"documents": listed.documents, "bytes": listed.bytes}
        self.dataset(uris, digest=listed.digest, counts=counts, context=context)

    def dataset(self, uris: Sequence[str], *, digest: str, counts: Mapping[str, int], context: str) -> None:
        """A dataset that the run reads: where it lies, what tells it from others, and how much of it there is."""
        told = [redact(uri) for uri in uris]
        self._later(lambda: self._log_dataset(told, digest, context, counts))

    def artifact(self, name: str, data: bytes | Path) -> None:
        """Adds a file; ``name`` may have folders: ``report/index.html``. ``data``: its bytes, or the file itself."""
        self._later(lambda: self._log_artifact(name, data))

    def close(self, status: str) -> None:
        """Ends the run: ``finished``, ``stopped`` or ``failed``. Only the first call counts."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        self._later(lambda: self._client.set_terminated(self.run_id, _STATUS[status]))
        self._thread.shutdown(wait=True)

    def _at_exit(self) -> None:
        """The process ends with the run open; the thread is gone by now."""
        self._try(lambda: self._client.set_terminated(self.run_id, _STATUS["failed"]))

    # ---- on the thread

    def _start(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        set_defaults()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            client = self._client = open_client(self.store)
            number = experiment_id(client, experiment, self.store.artifacts)
            close_left_behind(client, number, tags)
            return str(client.create_run(number, run_name=name, tags=dict(tags)).info.run_id)
        except (ImportError, OSError, SQLAlchemyError, MlflowException) as error:
            cause = first_line(error, 300)
            raise UsageError(
                f"the MLflow store {redact(self.store.uri)} cannot be used: {redact(cause)}; "
                "set MLFLOW_TRACKING_URI to one that can",
            ) from error

    def _log_dataset(self, uris: Sequence[str], digest: str, context: str, counts: Mapping[str, int]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=Path(urlparse(uris[0]).path).name[:500] or "input",
            digest=digest,
            source_type="manta-listing",
            source=json.dumps({"uris": uris})[:65535],
            profile=json.dumps(counts),
        )
        one = DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", context)])
        self._client.log_inputs(self.run_id, datasets=[one])

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._client.set_tag(self.run_id, name, value)

    def _log_artifact(self, name: str, data: bytes | Path) -> None:
        import tempfile

        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            if isinstance(data, bytes):
                Path(scratch, file).write_bytes(data)
            else:
                Path(scratch, file).symlink_to(data.absolute())
            self._client.log_artifact(self.run_id, str(Path(scratch, file)), folder or None)

    def _log_params(self, params: Sequence[tuple[str, str]]) -> None:
        from mlflow.entities import Param  # on this thread alone: two that import mlflow at once break it

        self._client.log_batch(self.run_id, params=[Param(*one) for one in params])

    def _log_metrics(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        self._client.log_batch(self.run_id, metrics=[Metric(*one) for one in points])

    def _later(self, call: Callable[[], None]) -> Future[None]:
        return self._thread.submit(self._try, call)

    def _try(self, call: Callable[[], None]) -> None:
        """Runs a call on the store. One that fails is told, once, and does not end a run of hours."""
        if self._ready.exception() is not None:
            return  # raised by run_id
        try:
            call()
        except Exception as error:  # noqa: BLE001 - the store's client raises what it likes; every one is told
            if not self._told:
                self._told, _LOG.disabled = True, False
                _LOG.warning("MLflow misses something of run %s: %s", self.run_id, redact(first_line(error)))


def attach(output: str, run_id: str, name: str, file: Path) -> bool:
    """Adds a file to a run that is over; False where its store does not know it."""
    set_defaults()
    from mlflow.exceptions import MlflowException

    client = open_client(store_for(output))
    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    client.log_artifact(run_id, str(file), name or None)
    return True
