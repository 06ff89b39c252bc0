"""An endpoint under load: ``manta serve`` beside FastAPI with transformers.pipeline in one process.

32 clients send texts of mixed length, one a request, each the next as soon as the last is answered; BERT-base
classifies them. Each server has the machine to itself in its turn; starting it does not count.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from jobs.bench.common import models
from jobs.bench.common.ask import Ask
from jobs.bench.common.clients import Asked, ask_all, free_port, server
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.programs import manta
from jobs.bench.common.report import Check, Report, Table
from jobs.bench.common.texts import texts
from jobs.bench.common.turns import Contender, in_turn
from stages.hardware import native_bfloat16, pick_device

CLIENTS = 32
REQUESTS, QUICK = 240, 48
OURS, PEER = "manta serve", "FastAPI + transformers.pipeline"
MARKS = {"float32": 1.2, "bfloat16": 3.0}
"""Times the peer's answers a second, which computes in float32."""


def measure(ask: Ask) -> Report:
    """Answers a second, and how long they take."""
    ask.refuse_data("serve")
    count, turns = (QUICK, 1) if ask.quick else (REQUESTS, 3)
    inputs = texts(count)
    asked = [str(row["text"]) for row in inputs.rows]
    formats = ["float32", *(["bfloat16"] if native_bfloat16(pick_device("cpu")) else [])]
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        checkpoint = models.bert_base(Path(folder) / "bert")
        sides = [_ours(Path(folder), checkpoint.folder, asked, each) for each in formats]
        sides.append(_peer(checkpoint.folder, asked))
        taken = in_turn([Contender(name=side.name, seconds=side.round, turns=turns) for side in sides])
    peer = sides[-1]
    return Report(
        bench="serve",
        title="an endpoint under load",
        command=ask.command("serve"),
        tables=(_table(sides, taken, count),),
        checks=() if ask.quick else _marks(formats, taken),
        notes=(
            f"{CLIENTS} clients, {count} texts of 4 to 480 words, one a request, sha256 {inputs.sha256}",
            f"answers in float32 equal to the pipeline's: {_agreement(sides[0], peer)}",
            f"random weights; medians of {turns}; latencies of all turns together; clients run on the same cores",
        ),
        versions=versions("ray", "fastapi", "torch", "transformers"),
    )


@dataclass(kw_only=True)
class _Side:
    """One server."""

    name: str
    command: Callable[[int], list[str]]
    """Starts it on a port."""
    path: str
    bodies: list[object]
    label: Callable[[object], tuple[str, float]]
    """What an answer says."""
    rounds: list[Asked] = field(default_factory=list)

    def round(self) -> float:
        """One turn: seconds for all requests."""
        port = free_port()
        with server(self.command(port), port, self.path, self.bodies[0]):
            ask_all(port, self.path, self.bodies[:CLIENTS], CLIENTS)  # warm
            self.rounds.append(ask_all(port, self.path, self.bodies, CLIENTS))
        return self.rounds[-1].seconds

    @property
    def latencies(self) -> Asked:
        """All turns together."""
        return Asked(seconds=0.0, latencies=[one for each in self.rounds for one in each.latencies])


def _ours(scratch: Path, checkpoint: Path, asked: list[str], dtype: str) -> _Side:
    config = scratch / f"{dtype}.yaml"
    model = {"family": "bert", "task": "text-classification", "checkpoint": str(checkpoint), "threads": cores()}
    sections = {"serve": {"queue": 4 * CLIENTS}, "documents": {"cpus": 0.1}}
    config.write_text(yaml.safe_dump({**sections, "models": [{**model, "cpus": 0.5, "predict": {"dtype": dtype}}]}))
    return _Side(
        name=f"{OURS}, {dtype}",
        command=lambda port: manta("serve", str(config), "--port", str(port)),
        path="/v1/bert/text-classification",
        bodies=[{"rows": [{"text": text}]} for text in asked],
        label=lambda answer: _label(answer["rows"][0]),  # type: ignore[index]
    )


def _peer(checkpoint: Path, asked: list[str]) -> _Side:
    return _Side(
        name=PEER,
        command=lambda port: [sys.executable, "-m", "jobs.bench.common.http_peer", str(checkpoint), str(port)],
        path="/classify",
        bodies=[{"text": text} for text in asked],
        label=_label,
    )


def _label(row: object) -> tuple[str, float]:
    assert isinstance(row, dict)
    return str(row["label"]), float(row["score"])


def _table(sides: list[_Side], taken: dict[str, float], count: int) -> Table:
    slowest = taken[PEER]
    rows = tuple(
        (side.name, count / taken[side.name], side.latencies.p50, side.latencies.p99, slowest / taken[side.name])
        for side in sides
    )
    columns = ("server", "answers/s", "p50 (s)", "p99 (s)", f"× {PEER}")
    return Table(title="BERT-base, text classification", columns=columns, rows=rows)


def _marks(formats: list[str], taken: dict[str, float]) -> tuple[Check, ...]:
    times = {each: taken[PEER] / taken[f"{OURS}, {each}"] for each in formats}
    return tuple(
        Check(what=f"answers, ours in {each} against {PEER} in float32", figure=times[each], mark=MARKS[each])
        for each in formats
    )


def _agreement(ours: _Side, peer: _Side) -> str:
    """How many answers are the same: the label, and the score within 1e-4."""
    mine, theirs = ([side.label(side.rounds[-1].answers[n]) for n in range(len(side.bodies))] for side in (ours, peer))
    same = sum(a[0] == b[0] and math.isclose(a[1], b[1], abs_tol=1e-4) for a, b in zip(mine, theirs, strict=True))
    return f"{same} of {len(mine)}"
