"""Ray Train, as the driver starts it: workers, checkpoints, restarts after faults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, cast

from jobs.training.begun import RUN, TRAINER, storage_of
from jobs.training.plan import Outcome, Plan
from jobs.training.settings import Train
from stages.errors import MantaError
from stages.storage import open_storage

KEPT = 2
"""Checkpoints that are kept: the last, and the one before it, in case the last is being written."""
ERRORS = f"{TRAINER}/error.txt"
"""In the output: what the workers said when training failed."""
LONGEST_S = 4 * 3600
"""Longest that ranks wait for each other, in seconds: as long as rank 0 may evaluate."""


class TrainingError(MantaError):
    """Training failed; the message has the worker's own error."""


def fit(plan: Plan, *, workers: int, share: Mapping[str, float]) -> Outcome:
    """Trains with ``workers`` processes that take ``share`` each, from the last checkpoint where there is one.

    Raises TrainingError with the first worker's own error.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from jobs.training.worker import work

    settings = plan.settings
    # The controller looks after its workers this often; 2 s is what a short training would mostly wait for.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(max(settings.wait_s, 60.0))
    path, file_system = storage_of(plan.output)
    trainer = TorchTrainer(
        cast("Callable[[dict[Any, Any]], None]", work),  # Ray's annotation forgets that a worker may answer
        train_loop_config={"plan": plan},
        torch_config=TorchConfig(timeout_s=LONGEST_S),
        scaling_config=ScalingConfig(
            num_workers=_workers(settings, workers),  # type: ignore[arg-type]  # declared as version 1's
            use_gpu="GPU" in share,
            resources_per_worker=dict(share),
        ),
        run_config=_run_config(RunConfig, settings, path, file_system),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        log = open_storage(plan.output)
        log.put(ERRORS, str(error).encode())
        message = f"training failed: {cause(error)}; the workers' tracebacks are in {log.uri}/{ERRORS}"
        raise TrainingError(message) from error
    outcome = getattr(result, "return_value", None)  # Ray declares the type of version 1's result
    assert isinstance(outcome, Outcome)
    return outcome


def _run_config(kind: Any, settings: Train, path: str, file_system: Any) -> Any:  # noqa: ANN401 - Ray is imported late
    from ray.train import CheckpointConfig, FailureConfig

    return kind(
        name=RUN,
        storage_path=path,
        storage_filesystem=file_system,
        checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
        failure_config=FailureConfig(
            max_failures=settings.restarts,
            controller_failure_limit=2,  # type: ignore[call-arg]  # declared as version 1's
        ),
    )


def _workers(settings: Train, workers: int) -> int | tuple[int, int]:
    """A number, or from how many to how many the cluster may have."""
    fewest = min(settings.min_workers, workers)
    return (fewest, workers) if 0 < fewest < workers else workers


def cause(error: Exception) -> str:
    """The workers' own error, in one line."""
    inner = getattr(error, "worker_failures", None)
    first = next(iter(inner.values()), error) if isinstance(inner, Mapping) else error
    lines = [line for line in str(first).splitlines() if line.strip()]
    return (lines[-1] if lines else type(first).__name__)[:500]
