"""The machine while something runs on it, as MLflow's "system metrics": CPU, memory, and GPUs where there are any.

What is measured is the machine of the driver. MLflow's own monitor would open a second client beside ``Tracking`` and
tells nothing of a run that is shorter than its interval, so only its collectors are used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from jobs.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

INTERVAL = 10.0
"""Seconds between two samples."""


@contextmanager
def system_metrics(tracking: Tracking, interval: float = INTERVAL) -> Iterator[None]:
    """Samples until the block ends, at least once; points are named as MLflow names them, ``system/…``."""
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(tracking, stop, interval), daemon=True, name="system-metrics")
    sampler.start()
    try:
        yield
    finally:
        stop.set()
        sampler.join(timeout=interval)


def _sample(tracking: Tracking, stop: threading.Event, interval: float) -> None:
    if not tracking.opened():
        return
    monitors, over = _monitors(), False
    while not over:
        over = stop.wait(interval)
        values: dict[str, float] = {}
        for each in monitors:
            each.collect_metrics()
            values.update(each.aggregate_metrics())
            each.clear_metrics()
        tracking.metrics({f"system/{name}": value for name, value in values.items()}, last=True)


def _monitors() -> list[BaseMetricsMonitor]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    monitors: list[BaseMetricsMonitor] = [CPUMonitor()]
    with suppress(ImportError, RuntimeError):  # no GPU, or not the package that reads it
        monitors.append(GPUMonitor())
    for each in monitors:  # the load is that since the last look: the first one tells nothing
        each.collect_metrics()
        each.clear_metrics()
    return monitors
