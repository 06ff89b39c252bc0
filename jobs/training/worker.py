"""What Ray Train runs in every worker: goes on from the last checkpoint, where there is one, and reports new ones."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jobs.training.checkpoints import MODEL
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
    if outcome is not None and outcome.not_finite_at and not plan.evaluation:  # else the best one is there
        _keep_last(plan)
    return outcome


def _report(folder: Path, step: int) -> None:
    """Merges the ranks' parts of a checkpoint in the storage; every rank waits for the others."""
    import ray.train

    checkpoint = ray.train.Checkpoint.from_directory(str(folder))
    ray.train.report({"step": step}, checkpoint=checkpoint, checkpoint_dir_name=f"step-{step:09d}")


def _keep_last(plan: Plan) -> None:
    """The last checkpoint's model into the output."""
    import ray.train

    last = ray.train.get_checkpoint()
    if last is not None:
        with last.as_directory() as folder:
            publish(Path(folder, MODEL), plan.output)
