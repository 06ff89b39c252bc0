"""What a training starts from: a checkpoint, or one made of two (an encoder and a decoder, or two towers)."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pipelines
from jobs.training.plan import CONFIG, put_checkpoint
from pipelines import Checkpoint, Family
from pipelines.checkpoint import resolve
from stages.errors import UsageError
from stages.storage import open_storage

FOLDER = "start"
"""In the output: checkpoints that were made to start from."""


def find_start(
    family: str, task: str, output: str, *, checkpoint: str | None, encoder: str | None, decoder: str | None, seed: int
) -> Checkpoint:
    """The checkpoint of that name, the task's default, or one made of ``encoder`` and ``decoder``.

    Raises UsageError for a task that cannot be trained, for parts that are not two or of which the family's models have
    none, and for what cannot be had.
    """
    found = pipelines.family(family)
    if pipelines.task(family, task).metric is None:
        can = [each.name for each in found.tasks if each.metric is not None]
        raise UsageError(f"{family} {task} cannot be trained; of {family} there can: {', '.join(can) or 'none'}")
    if not encoder and not decoder:
        default = found.checkpoints.get(task, found.checkpoints[""])
        return resolve(checkpoint or default, model_types=found.model_types)
    if found.build is None:
        raise UsageError(f"{family} has one part: name it with --checkpoint, not --encoder and --decoder")
    if checkpoint:
        raise UsageError("name either --checkpoint, or --encoder and --decoder")
    if not encoder or not decoder:
        raise UsageError(f"{'--decoder' if encoder else '--encoder'} is missing: a model of two parts needs both")
    return _made_of(found, resolve(encoder), resolve(decoder), output, seed)


def _made_of(found: Family, encoder: Checkpoint, decoder: Checkpoint, output: str, seed: int) -> Checkpoint:
    """The checkpoint of both, below ``output``/start. Made once: what joins them has random weights, which a training
    that goes on must find again."""
    import torch

    assert found.build is not None
    parts = hashlib.sha256(f"{encoder.content}{decoder.content}{seed}".encode()).hexdigest()
    name = f"{FOLDER}/{parts[:12]}"
    if not any(entry.name == f"{name}/{CONFIG}" for entry in open_storage(output).list(f"{name}/")):
        with tempfile.TemporaryDirectory(prefix="manta-start-") as scratch, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            folder = Path(scratch, "both")
            found.build(encoder, decoder, folder)
            put_checkpoint(folder, f"{output.rstrip('/')}/{name}")
    return resolve(f"{output.rstrip('/')}/{name}", model_types=found.model_types)
