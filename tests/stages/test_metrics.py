"""Metrics: off without Ray, told to Ray otherwise, a batch at a time."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch

from stages import metrics
from stages.examples import Example
from stages.predictor import Predictor
from stages.settings import Predict


def test_names_say_what_prometheus_expects() -> None:
    for one in metrics.METRICS:
        assert one.name.startswith("manta_")
        assert one.name.endswith("_total") == (one.kind == "counter")
        assert bool(one.buckets) == (one.kind == "histogram")
        assert one.labels[:2] == ("family", "task")
    assert len({one.name for one in metrics.METRICS}) == len(metrics.METRICS)


def test_without_ray_nothing_is_counted_nor_imported() -> None:
    code = (
        "import sys; from stages import metrics\n"
        "metrics.record(metrics.PAGES, 1, {'family': 'f', 'task': 't', 'state': 'ok'})\n"
        "sys.exit(bool(metrics._RECORDERS or 'ray' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("ray_local")
def test_every_kind_is_taken_by_ray() -> None:
    for one in metrics.METRICS:
        metrics.record(one, 1.5, dict.fromkeys(one.labels, "x"))
        assert one.name in metrics._RECORDERS
    metrics.record(metrics.TOKENS, 0, {"family": "f", "task": "t"})  # Ray refuses to count nothing
    with pytest.raises(ValueError, match=r"tag keys?"):
        metrics.record(metrics.TOKENS, 1, {"nonsense": "x"})


class Lengths:
    """A task whose examples are as long as the row says."""

    name = "lengths"
    reads = optional = writes = ()
    equal_lengths: ClassVar[bool] = False
    batch_cost: ClassVar[int] = 0
    model = torch.nn.Identity()

    def load_processor(self) -> None:
        pass

    def load_model(self, device, dtype) -> None:
        pass

    def records(self, row):
        return [row]

    def encode(self, row):
        return [Example(arrays={}, length=int(row["n"]), extra=1)]

    def decode(self, row, examples, outputs):
        return {}

    def collate(self, examples):
        return {}

    def forward(self, batch, examples):
        return [{"x": np.zeros(1)} for _ in examples]


def test_a_batch_tells_its_size_its_tokens_and_its_padding(monkeypatch) -> None:
    told: list[tuple[str, float, dict[str, str]]] = []
    monkeypatch.setattr(metrics, "record", lambda one, value, labels: told.append((one.name, value, dict(labels))))
    predictor = Predictor(Lengths(), Predict(device="cpu", token_budget=100), family="f").open()
    predictor.predict([{"n": 3}, {"n": 4}])
    assert all(labels == {"family": "f", "task": "lengths"} for _, _, labels in told)
    assert told[0][0] == "manta_model_load_seconds"
    assert [(name, value) for name, value, _ in told[1:]] == [
        ("manta_batch_examples", 2), ("manta_tokens_total", 9), ("manta_padded_tokens_total", 10),
    ]  # fmt: skip
