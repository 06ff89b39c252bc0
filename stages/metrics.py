"""What runs and endpoints count while they work: metrics for Prometheus, through Ray's metrics agent.

Ray exports each on every machine with the prefix ``ray_``; ``infra/monitoring`` reads them. Where this process is not
part of a Ray cluster nothing is counted, and Ray is not imported. A value is told once a batch, not once a row.
Queues are told by Ray itself: ``ray_data_operator_queued_blocks`` of runs, ``ray_serve_deployment_queued_queries`` of
endpoints.

https://docs.ray.io/en/releases-2.60.0/ray-observability/user-guides/add-app-metrics.html
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Labels = Mapping[str, str]
_ABOUT = ("family", "task")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One thing that is counted."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    """What it says, with its unit."""
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""


PAGES = Metric(
    name="manta_pages_total", kind="counter", labels=(*_ABOUT, "state"), help="pages or rows committed, ok or failed"
)
ERROR_ROWS = Metric(name="manta_error_rows_total", kind="counter", labels=(*_ABOUT, "code"), help="error rows by code")
STAGE_SECONDS = Metric(
    name="manta_stage_seconds_total",
    kind="counter",
    labels=(*_ABOUT, "stage"),
    help="seconds of work by stage, summed over processes",
)
TOKENS = Metric(
    name="manta_tokens_total", kind="counter", labels=_ABOUT, help="tokens through the model, padding left out"
)
PADDED_TOKENS = Metric(
    name="manta_padded_tokens_total", kind="counter", labels=_ABOUT, help="tokens through the model, with padding"
)
BATCH_EXAMPLES = Metric(
    name="manta_batch_examples",
    kind="histogram",
    labels=_ABOUT,
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    help="examples of one batch of the model",
)
MODEL_LOAD_SECONDS = Metric(
    name="manta_model_load_seconds",
    kind="gauge",
    labels=_ABOUT,
    help="seconds that a process needed to load processor and model",
)
METRICS = (PAGES, ERROR_ROWS, STAGE_SECONDS, TOKENS, PADDED_TOKENS, BATCH_EXAMPLES, MODEL_LOAD_SECONDS)

_RECORDERS: dict[str, Callable[[float, dict[str, str]], None]] = {}


def record(metric: Metric, value: float, labels: Labels) -> None:
    """Adds to a counter, sets a gauge, or counts into a histogram. ``labels`` has a value for each of the metric's."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or (metric.kind == "counter" and value <= 0):
        return
    if metric.name not in _RECORDERS:
        _RECORDERS[metric.name] = _recorder(metric)
    _RECORDERS[metric.name](value, dict(labels))


def _recorder(metric: Metric) -> Callable[[float, dict[str, str]], None]:
    from ray.util import metrics

    asked: Any = {"description": metric.help, "tag_keys": metric.labels}
    if metric.kind == "counter":
        return metrics.Counter(metric.name, **asked).inc
    if metric.kind == "gauge":
        return metrics.Gauge(metric.name, **asked).set
    return metrics.Histogram(metric.name, boundaries=list(metric.buckets), **asked).observe
