"""What Ray Train runs in every worker: goes on from the last checkpoint, where there is one, and reports new ones."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.training.learn import learn
from jobs.training.plan import Outcome, Plan, publish


def work(config: dict[str, Any]) -> Outcome | None:
    """The body of one worker; ``config["plan"]`` is a Plan. Rank 0 answers with the outcome."""
    import ray.train
    from ray.train.torch import get_device

    plan = config["plan"]
    assert isinstance(plan, Plan)
    with ExitStack() as stack:
        last = ray.train.get_checkpoint()
        start = Path(stack.enter_context(last.as_directory())) if last is not None else None
        outcome = learn(plan, get_device(), start=start, report=_report)
    if outcome is not None and outcome.not_finite_at:
        return replace(outcome, metrics=outcome.metrics or _keep_last(plan))
    return outcome


def _report(folder: Path, step: int) -> None:
    """Merges the ranks' parts of a checkpoint in the storage; every rank waits for the others."""
    import ray.train

    checkpoint = ray.train.Checkpoint.from_directory(str(folder))
    ray.train.report({"step": step}, checkpoint=checkpoint, checkpoint_dir_name=f"step-{step:09d}")


def _keep_last(plan: Plan) -> dict[str, float]:
    """The last checkpoint's model into the output, where no evaluation has put a better one there."""
    import ray.train

    last = ray.train.get_checkpoint()
    if last is not None and not plan.evaluation:
        with last.as_directory() as folder, tempfile.TemporaryDirectory() as scratch:
            import shutil

            copied = shutil.copytree(Path(folder, "model"), Path(scratch, "model"))
            publish(Path(copied), plan.output)
    return {}
