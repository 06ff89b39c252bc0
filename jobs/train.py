"""``manta train``: fine-tunes a family's checkpoint for one task. Encodes once, then Ray Train runs the Trainer.

Leaves ``OUTPUT/model/`` (safetensors, tokenizer, configuration with its label names: what ``--checkpoint`` takes),
``OUTPUT/encoded/`` (the rows as tokens), ``OUTPUT/train.json`` (what was done), ``OUTPUT/curve.jsonl`` (losses and
evaluations by step), and an MLflow run with the curve. Until it has ended, ``OUTPUT/trainer/`` holds checkpoints, from
which it goes on after a fault: by itself where a worker died, with ``--resume`` where all of it was killed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pipelines
from jobs.cluster import Resources, connect
from jobs.tracking import Tracking
from jobs.tracking_card import Card
from jobs.tracking_hub import check_hub, push
from jobs.tracking_registry import Registration, check_name
from jobs.tracking_system import system_metrics
from jobs.tracking_training import Finished, tell_data, tell_evaluation, tell_model
from jobs.training import begun as beginnings
from jobs.training.begun import Begun
from jobs.training.curve import Curve, listening
from jobs.training.encode import Tables, check_labels, encode, summary
from jobs.training.fit import TrainingError, fit
from jobs.training.plan import EVALUATION, MODEL, Outcome, Plan, check_contrast, choose_metric
from jobs.training.record import CURVE, RECORD, TrainRecord
from jobs.training.room import check_room, share_of, wait_for_room
from jobs.training.settings import Augment, Train
from jobs.training.sources import Sources, find_sources
from jobs.training.start import find_start
from pipelines import Checkpoint, Metric, Options, Task
from pipelines.rehearsal import rehearse
from stages.base import Row
from stages.errors import UsageError
from stages.lease import Holder, Lease
from stages.storage import Storage, open_storage
from stages.takes import Takes

__all__ = ["TrainRecord", "TrainingError", "train"]

Say = Callable[[str], None]
"""Where lines for a person go."""


def train(  # noqa: PLR0913 - the options of the command line, each by name
    family: str,
    task: str,
    data: str,
    output: str,
    *,
    checkpoint: str | None = None,
    encoder: str | None = None,
    decoder: str | None = None,
    eval_data: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    settings: Train | None = None,
    augment: Augment | None = None,
    options: Options | None = None,
    resume: bool = False,
    register: str | None = None,
    push_to_hub: str | None = None,
    say: Say | None = None,
) -> TrainRecord:
    """Trains and leaves a checkpoint in ``output``/model.

    ``data`` and ``eval_data`` name tables with the columns that the task reads and its right answers, or labelled data
    (jobs/labelled); ``encoder`` and ``decoder`` are two checkpoints that a model of two parts is made of, instead of
    ``checkpoint``; ``workers`` is how many processes share a step (one a GPU, else one a CPU). ``resume`` goes on with
    what began in ``output`` and did not end, and answers at once where it did. ``register`` is the name under which the
    model goes into MLflow's registry, ``push_to_hub`` a repository on the Hugging Face Hub. Raises UsageError for what
    cannot work before anything starts; OutputBusyError where another training is at work there; TrainingError with the
    worker's own error; MantaError where the trained model can be neither registered nor pushed.
    """
    output = output if output.startswith("s3://") else str(Path(output).resolve())
    if push_to_hub:
        check_hub(push_to_hub)
    settings = settings or Train()
    parts = {"checkpoint": checkpoint, "encoder": encoder, "decoder": decoder}
    start = find_start(family, task, output, seed=settings.seed, **parts)
    described, tried = _described(family, task, start, options)
    sources = find_sources(tried, data, eval_data, output, settings)
    if sources.checkpoint is not tried.checkpoint:
        described, tried = _tried(type(tried), sources.checkpoint, tried.options)
    held_out = sources.held_out
    job = _Job(
        family=family,
        task=described,
        output=output,
        settings=settings,
        augment=augment or Augment(),
        say=say or (lambda _: None),
        takes=tried.takes(),
        evaluation=tuple(held_out.read(tried)) if held_out else (),
        sources=sources,
        register=register,
        push_to_hub=push_to_hub,
    )
    _check(tried, job)
    job.asked = beginnings.asked(job.family, job.task, job.settings, job.augment, _digests(sources))
    named = {"data": data, "eval_data": eval_data, **parts}
    there = beginnings.find(job.output, job.asked, resume=resume)
    if isinstance(there, TrainRecord):
        job.say(f"{job.output} holds this training, done; nothing is left to do")
        return there
    job.begun = there
    with (
        Lease(job.storage, Holder.me(f"train {family} {task}")),
        _tracked(job, {name: one or "" for name, one in named.items()}) as tracking,
    ):
        tell_data(tracking, data, sources.data, "training")
        if sources.evaluation:
            tell_data(tracking, eval_data or data, sources.evaluation, "evaluation")
        with system_metrics(tracking):
            return _run(job, sources.tables, tracking, workers=workers, address=address)


@dataclass(kw_only=True)
class _Job:
    """What all parts of one training need."""

    family: str
    task: Task
    output: str
    settings: Train
    augment: Augment
    say: Say
    sources: Sources
    register: str | None
    """Name in the registry."""
    push_to_hub: str | None
    """Repository."""
    takes: Takes | None = None
    """What the task takes of images, recordings or videos."""
    evaluation: tuple[Row, ...] = ()
    metric: Metric = field(init=False)
    """What chooses the best model."""
    asked: Mapping[str, str] = field(default_factory=dict)
    begun: Begun | None = None
    """What it goes on with."""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def storage(self) -> Storage:
        """The output."""
        return open_storage(self.output)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Writes down how long a part took."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = round(time.perf_counter() - start, 2)


# ---- before anything starts


def _described(family: str, name: str, checkpoint: Checkpoint, options: Options | None) -> tuple[Task, Task]:
    """The task with its checkpoint, and the same tried out: processor loaded, and its model without weights."""
    kind = pipelines.task(family, name)
    # A new head has random weights by definition; after training they are not.
    return _tried(kind, checkpoint, dataclasses.replace(options or kind.options_type(), allow_random_head=True))


def _tried(kind: type[Task], checkpoint: Checkpoint, options: Options) -> tuple[Task, Task]:
    task, tried = kind(checkpoint, options), kind(checkpoint, options)
    rehearse(tried)
    return task, tried


def _check(tried: Task, job: _Job) -> None:
    """Raises UsageError for settings that do not fit the model or the rows."""
    from jobs.training import model

    settings = job.settings
    job.metric = choose_metric(tried, settings.metric)
    check_contrast(tried, settings)
    model.check(tried.model, settings)
    if not job.evaluation:
        for name in ("metric", "patience", "evaluate_steps"):
            if getattr(settings, name):
                raise UsageError(
                    f"train.{name} needs rows to judge the model by: name them with --eval-data, "
                    "or keep a part of the training rows out with train.eval_share"
                )
    check_labels(tried, job.evaluation)


def _digests(sources: Sources) -> dict[str, str]:
    return {"data": sources.data.digest, "eval_data": sources.evaluation.digest if sources.evaluation else ""}


# ---- at work


@contextmanager
def _tracked(job: _Job, more: Mapping[str, str]) -> Iterator[Tracking]:
    """The MLflow run of the training; closed FINISHED, KILLED or FAILED whatever happens inside."""
    name, shared = f"train {job.family} {job.task.name}", job.register is not None
    tracking = Tracking.start_async("train", output=job.output, name=name, shared=shared)
    tracking.params({**job.asked, **more, "checkpoint": job.task.checkpoint.ref})
    tracking.params({"checkpoint_content": job.task.checkpoint.content})
    try:
        if job.register is not None:
            tracking.ask(lambda client, _: check_name(client, str(job.register)))
        yield tracking
    except BaseException as error:
        tracking.close("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    tracking.close("finished")


def _run(job: _Job, tables: Tables, tracking: Tracking, *, workers: int | None, address: str | None) -> TrainRecord:
    with job.timed("ray"):
        resources = connect(address)
    count = workers or int(resources.gpus) or max(1, int(resources.cpus))
    share = share_of(resources)
    _place(job, count, resources, address)
    left_out = _encoded(job, tables)
    begun = job.begun or Begun(asked=job.asked, workers=count, left_out=left_out)
    count = min(count, begun.workers)  # more would find no share of a step
    check_contrast(job.task, job.settings, begun=begun.workers, workers=count)
    if job.begun is None:
        beginnings.forget(job.output)
        job.storage.delete(EVALUATION)
        beginnings.write(job.output, begun)
    job.say(f"{tables.rows - left_out} rows encoded in {job.seconds['encode']:.0f} s; {count} workers start")
    curve = Curve(job.say, lambda values, step: tracking.metrics(values, step=step, last=True))
    with job.timed("train"), listening(curve) as points:
        plan = Plan(
            task=job.task,
            settings=job.settings,
            augment=job.augment,
            output=job.output,
            shares=begun.workers,
            evaluation=job.evaluation,
            points=points,
        )
        outcome = fit(plan, workers=count, share=share)
    _refuse_nan(job, outcome)
    return _finished(job, tables, begun, outcome, curve, tracking)


def _place(job: _Job, count: int, resources: Resources, address: str | None) -> None:
    """Raises UsageError where there is no room for the workers, or not the hardware for what is asked."""
    if job.settings.precision == "float16" and not resources.gpus:
        raise UsageError("train.precision float16 needs a GPU, and this cluster has none: use auto, or bfloat16")
    if address is None:
        check_room(count, resources)
    else:
        fewest = min(job.settings.min_workers or count, count)
        wait_for_room(fewest, share_of(resources), job.settings.wait_s, job.say)


def _encoded(job: _Job, tables: Tables) -> int:
    """Encodes the rows, once; says and returns how many were left out. Raises UsageError where those are too many."""
    with job.timed("encode"):
        if job.begun is not None:
            return job.begun.left_out
        refused = encode(tables, job.task, job.output, takes=job.takes, say=job.say)
    if len(refused) > job.settings.left_out * tables.rows:
        share = len(refused) / tables.rows
        raise UsageError(f"{summary(refused)}; mend them, or admit it with --set train.left_out={share:.3g}")
    if refused:
        job.say(summary(refused))
    return len(refused)


def _refuse_nan(job: _Job, outcome: Outcome) -> None:
    """Raises TrainingError where the loss was no number; what was good is kept."""
    if not outcome.not_finite_at:
        return
    kept = any(job.storage.list(f"{MODEL}/"))
    beginnings.forget(job.output)  # it would come to the same end again
    there = f"the last good model is in {job.output}/{MODEL}" if kept else "there is no earlier model to keep"
    raise TrainingError(
        f"training stopped at step {outcome.not_finite_at}: the loss is not a number (NaN) or infinite; {there}. "
        "Try a lower train.learning_rate, a longer train.warmup, or train.precision=float32",
    )


def _finished(
    job: _Job, tables: Tables, begun: Begun, outcome: Outcome, curve: Curve, tracking: Tracking
) -> TrainRecord:
    """Writes down what was done; the model is in its place."""
    record = TrainRecord(
        family=job.family,
        task=job.task.name,
        checkpoint=job.task.checkpoint.ref,
        model=f"{job.output}/{MODEL}",
        rows=tables.rows,
        left_out=begun.left_out,
        workers=begun.workers,
        steps=outcome.steps,
        loss=outcome.loss,
        metrics=outcome.metrics,
        seconds={**job.seconds, "loop": round(outcome.seconds, 2)},
        mlflow_run_id=tracking.run_id,
        asked=job.asked,
        data_digest=job.asked["data"],
        eval_digest=job.asked["eval_data"],
    )
    job.storage.put(RECORD, record.to_json().encode())  # naming the model may fail, and the training is done
    registered, pushed = _named(job, outcome, record.model, tracking)
    record = dataclasses.replace(record, registered=registered, pushed=pushed)
    files = {RECORD: record.to_json().encode(), CURVE: curve.lines()}
    for name, content in files.items():
        job.storage.put(name, content)
        tracking.artifact(name, content)
    tracking.metrics({f"seconds_{name}": value for name, value in record.seconds.items()}, last=True)
    beginnings.forget(job.output)
    return record


def _named(job: _Job, outcome: Outcome, model: str, tracking: Tracking) -> tuple[Registration | None, str]:
    """What MLflow is to have of the model, and its names there and on the Hub. Raises MantaError."""
    with job.timed("track"):
        tell_evaluation(tracking, job.output)
        card = Card(
            family=job.family,
            task=job.task,
            data=job.sources.data,
            evaluation=job.sources.evaluation,
            metrics=outcome.metrics,
            metric=job.metric,
            settings={name: one for name, one in job.asked.items() if "." in name},
            steps=outcome.steps,
        )
        found = tell_model(tracking, Finished(card=card, model=model, rows=job.evaluation), job.register)
        if found is not None:
            told = "yes" if found.champion else "no"
            job.say(f"registered as {found.reference}; champion: {told} ({found.against})")
        return found, push(model, job.push_to_hub) if job.push_to_hub else ""
