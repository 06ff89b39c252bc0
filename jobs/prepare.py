"""From what a person asked for to what a run needs. What can be wrong is found here, before anything starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pipelines
from jobs.ways_in import columns_of, fingerprint
from pipelines import Checkpoint, Options, Task
from pipelines.checkpoint import resolve
from pipelines.rehearsal import Rehearsal
from stages.columns import SCHEMA_VERSION
from stages.errors import Code, UsageError
from stages.hardware import dtype_name
from stages.listing import check_inputs
from stages.settings import Predict, Settings
from stages.table_columns import Columns

TEXT = "text"
"""The name under which a run without a model goes: it stops after pages/."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asked ``manta run`` for."""

    family: str
    task: str | None
    inputs: Sequence[str]
    output: str
    checkpoint: str | None = None
    settings: Settings = field(default_factory=Settings)
    options: Options | Mapping[str, object] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """``--map``: a task's column to its path in the tables."""
    retry: Sequence[str] = ()
    """Codes whose error rows are tried again."""
    max_attempts: int = 0
    """Error rows that were tried so often are not tried again; 0: however often."""
    limit: int | None = None
    """Most documents to do in this run."""
    address: str | None = None
    max_error_rate: float = 0.1
    pages: str | None = None
    """Where pages/ is kept; in the output where None."""
    prune: bool = False
    command: str = ""
    """The command line that asked for it, quoted for a shell; empty where Python did."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("no input: name files, folders, globs or s3:// prefixes with --input")
        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"--max-error-rate must be between 0 and 1, not {self.max_error_rate}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be 1 or more, not {self.limit}")
        if self.max_attempts < 0:
            raise UsageError(f"--max-attempts must be 0 or more, not {self.max_attempts}")
        for code in self.retry:
            if code not in set(Code):
                raise UsageError(f"--retry: no code {code!r}; there are: {', '.join(Code)}")

    @property
    def retry_codes(self) -> frozenset[Code]:
        """``retry`` as codes."""
        return frozenset(Code(code) for code in self.retry)

    @property
    def pages_uri(self) -> str:
        """The folder that holds pages/."""
        return self.pages or self.output


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request that can be run."""

    request: Request
    task: Task | None
    checkpoint: Checkpoint | None
    read_fingerprint: str
    fingerprint: str
    columns: Columns
    """What the task takes from tables."""
    notice: str
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    """Wait for it before anything is done: it finds what is wrong with checkpoint and options."""

    @property
    def task_name(self) -> str:
        """The task's name; of a run without a model, text."""
        return self.task.name if self.task else TEXT

    @property
    def records(self) -> int:
        """Result rows a page."""
        return self.task.records_per_row() if self.task else 1


def prepare(request: Request) -> Prepared:
    """Resolves family, task, options and checkpoint, and begins to try the task out.

    Raises UsageError for anything that cannot work, as ``rehearsal.wait()`` of what it returns does.
    """
    if request.family == TEXT:
        return _text_only(request, fingerprint(None, request.settings))
    if request.task is None:
        names = ", ".join(task.name for task in pipelines.family(request.family).tasks)
        raise UsageError(f"which task? family {request.family} has: {names}. Name one with --task")
    family, kind = pipelines.family(request.family), pipelines.task(request.family, request.task)
    reading = fingerprint(kind, request.settings)
    options = _options(kind, request.options)
    check_inputs(request.inputs)
    reference = request.checkpoint or family.checkpoints.get(kind.name) or family.checkpoints[""]
    checkpoint = resolve(reference, model_types=family.model_types)
    task = kind(checkpoint, options)
    return Prepared(
        request=request,
        task=task,
        checkpoint=checkpoint,
        read_fingerprint=reading,
        fingerprint=fingerprint_of(request.family, task, request.settings.predict, reading),
        columns=columns_of(kind, paths=request.columns),
        notice=family.notice,
        # On an instance of its own: the run's stays small enough to travel.
        rehearsal=Rehearsal.start(kind(checkpoint, options)),
    )


def _text_only(request: Request, reading: str) -> Prepared:
    if request.task or request.checkpoint or request.options:
        raise UsageError("manta run text reads documents without a model: leave out --task, --checkpoint and task.*")
    check_inputs(request.inputs)
    return Prepared(
        request=request,
        task=None,
        checkpoint=None,
        read_fingerprint=reading,
        fingerprint=reading,
        columns=Columns(needs=()),
        notice="",
    )


def _options(kind: type[Task], given: Options | Mapping[str, object] | None) -> Options:
    if isinstance(given, Options):
        if not isinstance(given, kind.options_type):
            raise UsageError(f"task {kind.name} takes {kind.options_type.__name__}, not {type(given).__name__}")
        return given
    from jobs.config import build_options

    return build_options(kind.options_type, given or {})


def fingerprint_of(family: str, task: Task, predict: Predict, reading: str) -> str:
    """What decides a row's value: two rows with one fingerprint are equal. ``reading`` is the read fingerprint."""
    parts = {
        "reading": reading,
        "family": family,
        "task": task.name,
        "checkpoint": task.checkpoint.content,
        "options": asdict(task.options),
        "dtype": dtype_name(predict),
        "schema": SCHEMA_VERSION,
        **({"besides": besides} if (besides := task.besides()) else {}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
