"""Rows and checkpoints on which trainings are tried."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.training.encode import FOLDER, examples_of, packed
from jobs.training.settings import Train
from pipelines import Task, task
from pipelines.checkpoint import resolve
from stages.base import Row
from stages.columns import schema

FAMILY, TASK = "layoutlm", "token-classification"


def page(words: Sequence[str], labels: Sequence[str] | None = None) -> Row:
    boxes = [[10 * at, 10, 10 * at + 8, 30] for at in range(len(words))]
    return {"words": list(words), "boxes": boxes, "labels": list(labels or ["O"] * len(words))}


def learnable(count: int, seed: int) -> list[Row]:
    """Pages on which the number after ``total`` is the total."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        before = rng.choice(["the", "of", "city", "date", "order"], rng.integers(1, 6)).tolist()
        rows.append(
            page([*before, "total", str(rng.integers(1, 99)), "name"], ["O"] * len(before) + ["O", "B-TOTAL", "O"])
        )
    return rows


def write(path: Path, rows: Sequence[Row]) -> str:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema(("words", "boxes", "labels"))), path)
    return str(path)


def settings(**changes: object) -> Train:
    return Train(**{"epochs": 4, "learning_rate": 3e-3, "token_budget": 256, **changes})  # type: ignore[arg-type]


def described(folder: Path) -> Task:
    return task(FAMILY, TASK)(resolve(str(folder)))


def write_encoded(described: Task, rows: Sequence[Row], output: Path) -> None:
    """``encoded/``, without Ray."""
    described.load_processor()
    (output / FOLDER).mkdir(parents=True)
    table = packed(described, [examples_of(described, row) for row in rows])
    pq.write_table(table, output / FOLDER / "0.parquet")


def without_dropout(source: Path, folder: Path) -> Path:
    """A copy of a checkpoint in which a step depends on its rows alone."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(_steady(config)))
    return folder


def _steady(config: object) -> object:
    if isinstance(config, dict):
        chance = {name: "drop" in name or name.startswith(("mask_time", "mask_feature")) for name in config}
        return {name: 0.0 if chance[name] and isinstance(one, float) else _steady(one) for name, one in config.items()}
    return [_steady(one) for one in config] if isinstance(config, list) else config
