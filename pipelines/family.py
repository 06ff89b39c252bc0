"""What a model family is: ``Family``, ``Task`` and ``Checkpoint``. Imports neither ray nor torch.

A family describes its model once; batch (Ray Data), training (Ray Train) and serving (Ray Serve) run that description.
A family's file in this folder registers it: it defines ``FAMILY``. See CONTRIBUTING.md for a walk through one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stages.base import Row
from stages.examples import Example, Output
from stages.takes import Takes

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from transformers import PreTrainedModel

    from pipelines.tasks.breakdown import Breakdown

Batch = Mapping[str, "torch.Tensor"]
IGNORED = -100
"""A label that no loss counts; what ``labels`` are padded with."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint as it was named and as it was found; resolved once, on the driver (pipelines/checkpoint.py)."""

    ref: str
    """As given: a Hub id (``org/name@revision``), a folder, an ``s3://`` folder; or ``models:/name/3``, the version
    that an alias stood for."""
    path: str
    """Local folder that holds config.json, the weights and the tokenizer."""
    content: str
    """sha256 over the names and contents of its files, hexadecimal."""

    @property
    def folder(self) -> Path:
        """``path`` as a Path."""
        return Path(self.path)


@dataclass(frozen=True, kw_only=True)
class Options:
    """A task's own options (``--set task.NAME=value``). Subclass with a docstring a field; check bounds in
    ``__post_init__`` and raise UsageError."""

    allow_random_head: bool = False
    """run although the checkpoint lacks weights of the task's head; its answers are then random"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a trainable task is judged on its evaluation rows."""

    name: str
    """The metric that chooses the best checkpoint, such as ``entity_f1``; a key of what ``Task.metrics`` returns."""
    greater_is_better: bool = True
    from_loss: bool = False
    """It follows from the evaluation loss (``loss_metrics``), not from answers (``metrics``)."""


class Task(ABC):
    """One task of one family: what differs from family to family. ``stages.predict.Predictor`` is what does not.

    An instance is a small picklable description until ``load_processor`` and ``load_model`` are called on a worker.
    The encoding half (``encode``, ``decode``) needs the processor only, the model half (``collate``, ``forward``)
    the model only, so that they can run in operators of their own on machines with a GPU.
    """

    name: ClassVar[str]
    """As in ``transformers.pipeline`` where one exists."""
    summary: ClassVar[str]
    """One line for ``manta families`` and the README."""
    reads: ClassVar[tuple[str, ...]]
    """Columns that a row must have; those of ``stages.columns``."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Columns that are used where a table has them."""
    gold: ClassVar[tuple[str, ...]] = ()
    """Columns that hold the right answers, for training and scoring."""
    writes: ClassVar[tuple[str, ...]]
    """Columns that it answers with."""
    combines: ClassVar[tuple[str, ...]] = ()
    """Columns of ``documents/`` that ``combine`` folds; empty where pages have no common answer."""
    options_type: ClassVar[type[Options]] = Options
    pixels: ClassVar[tuple[int, int] | None] = None
    """Height and width in which it looks at a page; its rows then carry ``pixels``."""
    metric: ClassVar[Metric | None] = None
    """What chooses the best model; None where the task cannot be trained."""
    more_metrics: ClassVar[tuple[Metric, ...]] = ()
    """What else it is judged by."""
    equal_lengths: ClassVar[bool] = False
    """True where numbers depend on padding (group norm over time): only equal lengths share a batch."""
    batch_cost: ClassVar[int] = 0
    """What one more batch costs the task besides, in tokens: writing takes as many steps for few texts as for many."""

    contrasts: ClassVar[bool] = False
    """True where an example's loss depends on the others of its step, which then come from all workers."""

    def __init__(self, checkpoint: Checkpoint, options: Options | None = None) -> None:
        self.checkpoint = checkpoint
        self.options = options if options is not None else self.options_type()

    def check(self, columns: Collection[str]) -> None:  # noqa: B027 - most tasks have nothing to add to ``reads``
        """Raises UsageError where rows with these columns cannot be answered though they have all of ``reads``: a
        question is neither in the table nor in the options, or of two columns of which one is needed there is none.
        """

    def besides(self) -> str:
        """What decides its answers besides checkpoint and options, as a hash: the content of an index that it searches.

        Part of the fingerprint, so that another content makes rows anew. Called on the driver: reads little.
        """
        return ""

    def takes(self) -> Takes | None:
        """What its model takes of images, recordings or videos, as the checkpoint says; None of a task on texts or
        pages. Needs the processor."""
        return None

    # ---- on the worker, once

    @abstractmethod
    def load_processor(self) -> None:
        """Loads tokenizer, label names: what ``encode`` and ``decode`` need. No weights."""

    @abstractmethod
    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights into ``self.model``, in evaluation mode, with SDPA where the model has it."""

    model: PreTrainedModel

    # ---- the encoding half

    def records(self, row: Row) -> list[Row]:
        """One row a result record; a page asked n questions gives n. Sets ``record`` where it gives several."""
        return [row]

    def records_per_row(self) -> int:
        """How many records each row gives (known from the options), so that what is missing can be told."""
        return 1

    @abstractmethod
    def encode(self, row: Row) -> list[Example]:
        """One row to 1..n examples of variable length. Raises RowError(ENCODE_FAILED) for a row it cannot take."""

    @abstractmethod
    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """The columns ``writes`` for one row; windows merged."""

    def combine(self, left: Row, right: Row) -> Row:
        """Two answers of one document to one: associative, higher score first, then lower page."""
        return left if _best_first(left) <= _best_first(right) else right

    # ---- the model half

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pads examples of like length to tensors, masks included."""

    @abstractmethod
    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Runs the model on a batch that is on its device; one output an example, unpadded, on the CPU."""

    # ---- on the driver, once a run has ended

    def conclude(self, output: str) -> None:  # noqa: B027 - most tasks leave rows and nothing else
        """Makes of all current rows in ``output`` what they are for, such as a search index. Raises UsageError."""

    # ---- training (metric is not None)

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """The examples with a ``labels`` array (or several) added, from the row's gold columns.

        Raises RowError(ENCODE_FAILED) where the labels do not fit (another length than the words, an unknown one).
        """
        raise NotImplementedError(f"{self.name} cannot be trained")

    def arrange(self, labelled: Sequence[Sequence[Example]]) -> list[list[Example]]:
        """Training examples of neighbouring rows, a list a row, as they are kept for the epochs: as they are, unless
        the task joins rows (texts to blocks of one length)."""
        return [list(examples) for examples in labelled]

    def gold_columns(self) -> tuple[str, ...]:
        """Those of ``gold`` that training needs for this checkpoint. Needs the processor, because the checkpoint's
        problem type may decide it."""
        return self.gold

    def vary(self, example: Example, random: Generator) -> Example:
        """A training example with what is drawn anew in each epoch, such as the tokens that masked language modelling
        hides. All chance comes from ``random``, so that a training that goes on sees what it would have seen."""
        return example

    def keep_up(self, step: int) -> None:  # noqa: B027 - most tasks look at nothing that their model makes
        """Brings up to date what follows from the model while it learns, such as vectors that it searches. Called on
        every rank after each step, and with 0 before the first."""

    def loss(self, outputs: Any, labels: Any, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """The loss as a sum over the batch divided by ``num_items``, the global count of labelled items."""
        raise NotImplementedError(f"{self.name} cannot be trained")

    def judged_loss(self, outputs: Any, labels: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        """Of a batch, the sum that ``loss_metrics`` follow from, and its number of items. The whole loss, unless the
        task says otherwise."""
        count = (labels != IGNORED).sum()
        return self.loss(outputs, labels, count) * count, count

    def judged_by(self) -> tuple[Metric, ...]:
        """What ``metrics`` and ``loss_metrics`` give for this checkpoint, first what chooses the best model. Needs the
        processor, because the checkpoint's problem type may decide it."""
        return () if self.metric is None else (self.metric, *self.more_metrics)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """The task's metrics over evaluation rows and what it answered for them."""
        raise NotImplementedError(f"{self.name} cannot be trained")

    def breakdown(self, gold: Sequence[Row], answers: Sequence[Row]) -> Breakdown | None:
        """How it did label by label; None for a task without labels."""
        return None

    def loss_metrics(self, loss: float) -> dict[str, float]:
        """Metrics that follow from the mean of ``judged_loss`` (perplexity); all others come from ``metrics``."""
        return {}


def _best_first(row: Row) -> tuple[float, int]:
    score, page = row["score"], row["page"]
    assert isinstance(score, float)
    assert isinstance(page, int)
    return -score, page


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model family: a file in this folder defines one as ``FAMILY``."""

    summary: str
    """One line for ``manta families`` and the README."""
    tasks: tuple[type[Task], ...]
    checkpoints: Mapping[str, str]
    """Default checkpoint a task name, ``""`` for all others; Hub ids with a pinned revision."""
    licence: str
    """Licence of the default checkpoints' weights, as their cards state it."""
    tiny: Callable[[Path, str], None]
    """Writes a small random checkpoint for the named task into a folder: config, weights and tokenizer."""
    build: Callable[[Checkpoint, Checkpoint, Path], None] | None = None
    """Writes a checkpoint made of an encoder's and a decoder's, or two towers', into a folder, to be trained; None
    where a model has one part."""
    notice: str = ""
    """Said when the family is chosen: a licence that forbids commercial use, for instance."""
    model_types: tuple[str, ...] = field(default=())
    """``model_type`` values of config.json that this family can load; empty admits all that the Auto classes know."""

    def task(self, name: str) -> type[Task]:
        """The task class of that name. Raises KeyError where the family has none."""
        return {task.name: task for task in self.tasks}[name]
