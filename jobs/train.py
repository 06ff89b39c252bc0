"""``manta train``: fine-tunes a family's checkpoint for one task. Encodes once, then Ray Train runs the Trainer.

Leaves ``OUTPUT/model/`` (safetensors, tokenizer, configuration with its label names: what ``--checkpoint`` takes),
``OUTPUT/encoded/`` (the rows as tokens), ``OUTPUT/train.json`` (what was done), and an MLflow run with the curve.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pipelines
from jobs.cluster import Resources, connect
from jobs.tracking import Tracking
from jobs.tracking_card import Card
from jobs.tracking_hub import check_hub, push
from jobs.tracking_registry import Registration, check_name
from jobs.tracking_system import system_metrics
from jobs.tracking_training import Finished, tell_data, tell_evaluation, tell_model
from jobs.training.encode import Tables, encode, summary
from jobs.training.plan import EVALUATION, Outcome, Plan
from jobs.training.settings import Train
from jobs.training.sources import Sources, find_sources
from pipelines import Options, Task
from pipelines.checkpoint import resolve
from pipelines.rehearsal import rehearse
from stages.errors import MantaError, UsageError

if TYPE_CHECKING:
    from ray.util.queue import Queue


Say = Callable[[str], None]
"""Where lines for a person go."""


class TrainingError(MantaError):
    """A worker failed."""


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """What a training did; ``OUTPUT/train.json``."""

    family: str
    task: str
    checkpoint: str
    """What it started from."""
    model: str
    """The folder of the trained checkpoint."""
    rows: int
    """Training rows."""
    left_out: int
    """Rows that could not be encoded."""
    workers: int
    steps: int
    loss: float
    """Mean training loss."""
    metrics: Mapping[str, float]
    """Of the kept model on the evaluation rows."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall clock of each part."""
    data_digest: str = ""
    """Of the training rows' content."""
    eval_digest: str = ""
    """Of the evaluation rows' content; empty without any."""
    mlflow_run_id: str = ""
    registered: Registration | None = None
    """Name and version, and what the champion was compared with."""
    pushed: str = ""
    """The Hub's commit."""

    def to_json(self) -> str:
        """The record as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def train(  # noqa: PLR0913 - the options of the command line, each by name
    family: str,
    task: str,
    data: str,
    output: str,
    *,
    checkpoint: str | None = None,
    eval_data: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    settings: Train | None = None,
    options: Options | None = None,
    register: str | None = None,
    push_to_hub: str | None = None,
    say: Say | None = None,
) -> TrainRecord:
    """Trains and leaves a checkpoint in ``output``/model.

    ``data`` and ``eval_data`` name tables with the columns that the task reads and its right answers, or labelled data
    (jobs/labelled); ``workers`` is how many processes share a step (one a GPU, else one a CPU); ``register`` is the
    name under which the model goes into MLflow's registry, ``push_to_hub`` a repository on the Hugging Face Hub.
    Raises UsageError for what cannot work before anything starts; TrainingError with the worker's own error when
    training fails; MantaError where the trained model can be neither registered nor pushed.
    """
    if output.startswith("s3://"):
        raise UsageError(f"{output}: manta train writes to a local or shared folder; copy model/ to S3 afterwards")
    if push_to_hub:
        check_hub(push_to_hub)
    described = _described(family, task, checkpoint, options)
    folder = Path(output).resolve()
    sources = find_sources(described, data, eval_data, str(folder))
    if sources.checkpoint is not described.checkpoint:
        described = type(described)(sources.checkpoint, described.options)
        rehearse(described)
    job = _Job(
        family=family,
        task=described,
        output=folder,
        settings=settings or Train(),
        say=say or (lambda _: None),
        register=register,
        push_to_hub=push_to_hub,
        sources=sources,
    )
    with _tracked(job, {"data": data, "eval_data": eval_data or ""}) as tracking:
        tell_data(tracking, data, sources.data, "training")
        if sources.evaluation and eval_data:
            tell_data(tracking, eval_data, sources.evaluation, "evaluation")
        with system_metrics(tracking):
            return _run(job, tracking, workers=workers, address=address)


@dataclass(kw_only=True)
class _Job:
    """What all parts of one training need."""

    family: str
    task: Task
    output: Path
    settings: Train
    sources: Sources
    say: Say
    register: str | None = None
    """Name in the registry."""
    push_to_hub: str | None = None
    """Repository."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Writes down how long a part took."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = round(time.perf_counter() - start, 2)


def _described(family: str, name: str, ref: str | None, options: Options | None) -> Task:
    """The task with its checkpoint. Raises UsageError for a task that cannot be trained, or a checkpoint that
    cannot be had."""
    kind, found = pipelines.task(family, name), pipelines.family(family)
    if kind.metric is None:
        can = [each.name for each in found.tasks if each.metric is not None]
        raise UsageError(f"{family} {name} cannot be trained; of {family} there can: {', '.join(can) or 'none'}")
    default = found.checkpoints.get(name, found.checkpoints[""])
    resolved = resolve(ref or default, model_types=found.model_types)
    # A new head has random weights by definition; after training they are not.
    asked = dataclasses.replace(options or kind.options_type(), allow_random_head=True)
    task = kind(resolved, asked)
    rehearse(task)
    return task


@contextmanager
def _tracked(job: _Job, more: Mapping[str, str]) -> Iterator[Tracking]:
    """The MLflow run of the training; closed FINISHED, KILLED or FAILED whatever happens inside."""
    job.output.mkdir(parents=True, exist_ok=True)
    name = f"train {job.family} {job.task.name}"
    tracking = Tracking.start_async("train", output=str(job.output), name=name, shared=job.register is not None)
    checkpoint = job.task.checkpoint
    tracking.params(
        {
            "family": job.family,
            "task": job.task.name,
            "checkpoint": checkpoint.ref,
            "checkpoint_content": checkpoint.content,
            **more,
            **{f"train.{name}": value for name, value in dataclasses.asdict(job.settings).items()},
            **{f"task.{name}": value for name, value in dataclasses.asdict(job.task.options).items()},
        },
    )
    try:
        if job.register is not None:
            tracking.ask(lambda client, _: check_name(client, str(job.register)))
        yield tracking
    except BaseException as error:
        tracking.close("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    tracking.close("finished")


def _run(job: _Job, tracking: Tracking, *, workers: int | None, address: str | None) -> TrainRecord:
    tables, held_out = job.sources.tables, job.sources.held_out
    # The controller looks after its workers this often; 2 s is what a short training would mostly wait for.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    with job.timed("ray"):
        resources = connect(address)
    count = workers or int(resources.gpus) or max(1, int(resources.cpus))
    _check_workers(count, resources)
    with job.timed("encode"):
        refused = encode(tables, job.task, str(job.output))
    if refused:
        job.say(summary(refused))
    job.say(f"{tables.rows - len(refused)} rows encoded in {job.seconds['encode']:.0f} s; {count} workers start")
    with job.timed("train"):
        outcome = _fit(job, count, held_out, tracking, gpu=resources.gpus > 0)
    record = TrainRecord(
        family=job.family,
        task=job.task.name,
        checkpoint=job.task.checkpoint.ref,
        model=str(job.output / "model"),
        rows=tables.rows,
        left_out=len(refused),
        workers=count,
        steps=outcome.steps,
        loss=outcome.loss,
        metrics=outcome.metrics,
        seconds={**job.seconds, "loop": round(outcome.seconds, 2)},
        data_digest=job.sources.data.digest,
        eval_digest=job.sources.evaluation.digest if job.sources.evaluation else "",
        mlflow_run_id=tracking.run_id,
    )
    _write(job, record)  # before the model is named: that may fail, and the training is done
    tracking.metrics({f"seconds_{name}": value for name, value in record.seconds.items()}, last=True)
    with job.timed("track"):
        registered = _keep(job, outcome, tracking)
        pushed = push(str(job.output / "model"), job.push_to_hub) if job.push_to_hub else ""
    record = dataclasses.replace(record, registered=registered, pushed=pushed)
    _write(job, record)
    tracking.artifact("train.json", job.output / "train.json")
    return record


def _write(job: _Job, record: TrainRecord) -> None:
    (job.output / "train.json").write_text(record.to_json(), encoding="utf-8")


def _keep(job: _Job, outcome: Outcome, tracking: Tracking) -> Registration | None:
    """What MLflow is to have of the trained model: how it did, and the model itself, with its card."""
    tell_evaluation(tracking, str(job.output))
    card = Card(
        family=job.family,
        task=job.task,
        data=job.sources.data,
        evaluation=job.sources.evaluation,
        metrics=outcome.metrics,
        settings=dataclasses.asdict(job.settings),
        steps=outcome.steps,
    )
    held_out = job.sources.held_out
    rows = held_out.read(job.task) if held_out and job.register else ()
    found = tell_model(tracking, Finished(card=card, model=str(job.output / "model"), rows=rows), job.register)
    if found is not None:
        job.say(f"registered as {found.reference}; champion: {'yes' if found.champion else 'no'} ({found.against})")
    return found


def _check_workers(count: int, resources: Resources) -> None:
    there, what = (resources.gpus, "GPUs") if resources.gpus else (resources.cpus, "CPUs")
    if not 1 <= count <= there:
        raise UsageError(f"--workers must be from 1 to {int(there)}, the {what} of this cluster, not {count}")


def _fit(job: _Job, workers: int, held_out: Tables | None, tracking: Tracking, *, gpu: bool) -> Outcome:
    """Ray Train with ``workers`` processes. Raises TrainingError with the first worker's own error."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from jobs.training.worker import work

    rows = tuple(held_out.read(job.task)) if held_out else ()
    (job.output / EVALUATION).unlink(missing_ok=True)
    shutil.rmtree(job.output / "trainer", ignore_errors=True)  # Ray Train would go on from what an older one left
    with _curve(job, tracking) as points:
        plan = Plan(task=job.task, settings=job.settings, output=str(job.output), evaluation=rows, points=points)
        trainer = TorchTrainer(
            cast("Callable[[dict[Any, Any]], None]", work),  # Ray's annotation forgets that a worker may answer
            train_loop_config={"plan": plan},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker=_share(gpu)),
            run_config=RunConfig(name="ray", storage_path=str(job.output / "trainer")),
        )
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            log = job.output / "trainer" / "error.txt"
            log.parent.mkdir(exist_ok=True)
            log.write_text(str(error), encoding="utf-8")
            raise TrainingError(f"training failed: {_cause(error)}; the workers' tracebacks are in {log}") from error
    outcome = getattr(result, "return_value", None)  # Ray declares the type of version 1's result
    assert isinstance(outcome, Outcome)
    return outcome


def _share(gpu: bool) -> dict[str, float]:
    return {"GPU": 1, "CPU": 1} if gpu else {"CPU": 1}


def _cause(error: Exception) -> str:
    """The workers' own error, in one line."""
    inner = getattr(error, "worker_failures", None)
    first = next(iter(inner.values()), error) if isinstance(inner, Mapping) else error
    lines = [line for line in str(first).splitlines() if line.strip()]
    return (lines[-1] if lines else type(first).__name__)[:500]


@contextmanager
def _curve(job: _Job, tracking: Tracking) -> Iterator[Queue]:
    """A queue whose points are told and tracked here, by the driver, as they come."""
    from ray.util.queue import Queue

    points, started = Queue(actor_options={"num_cpus": 0}), time.monotonic()
    teller = threading.Thread(target=_tell, args=(points, job, tracking, started), daemon=True)
    teller.start()
    try:
        yield points
    finally:
        points.put(None)
        teller.join(timeout=30)
        points.shutdown(force=True)


def _tell(points: Queue, job: _Job, tracking: Tracking, started: float) -> None:
    told = 0.0
    while (point := points.get()) is not None:
        step, values = point
        total = int(values.pop("steps", 0))
        tracking.metrics(values, step=step, last=True)
        if "loss" in values and time.monotonic() - told > 10:
            told = time.monotonic()
            seconds = told - started
            job.say(f"step {step} of {total}  loss {values['loss']:.3f}  {seconds:.0f} s")
        elif "loss" not in values:
            job.say(f"step {step}  " + "  ".join(f"{name} {value:.3f}" for name, value in sorted(values.items())))
