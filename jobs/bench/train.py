"""Training with two workers: ``manta train`` beside torchrun with transformers' Trainer, and Ray Train's own cost.

The same classifier, texts, learning rate and number of workers for all. The Trainer's batches are random rows padded
to the longest that the model takes, or rows of like length (its ``group_by_length``) padded to the longest of them.
Samples a second are those of the training loop, without start, encoding and saving. Ray Train's own cost is our worker
inside it against the same worker started by torchrun.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.common.ask import Ask
from jobs.bench.common.machine import versions
from jobs.bench.common.programs import manta, watch
from jobs.bench.common.report import Check, Report, Table
from jobs.bench.common.texts import texts
from jobs.bench.common.trainers import BATCH, BUDGET, EPOCHS, How, longest_of, settings
from jobs.bench.common.turns import Contender, in_turn

ROWS, QUICK_ROWS = 400, 48
WORKERS = 2
LABELS = ("negative", "neutral", "positive")
OURS, GROUPED, PADDED, ALONE = "manta train", "group_by_length", "max_length", "our worker, torchrun"
SIZES = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
QUICK_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def measure(ask: Ask) -> Report:
    """Samples a second of each, and the ratios."""
    ask.refuse_data("train")
    count, turns, sizes = (QUICK_ROWS, 1, QUICK_SIZES) if ask.quick else (ROWS, 3, SIZES)
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as name:
        folder = Path(name)
        digest = _inputs(folder, count, small=ask.quick)
        works = {
            OURS: lambda: _ours(folder),
            GROUPED: lambda: _torchrun(folder, "group_by_length"),
            PADDED: lambda: _torchrun(folder, "max_length"),
            ALONE: lambda: _torchrun(folder, "ours"),
        }
        taken = in_turn([Contender(name=name, seconds=work, turns=turns) for name, work in works.items()])
        longest = longest_of(folder)
    names = {OURS: OURS, GROUPED: "torchrun, Trainer, group_by_length", PADDED: "torchrun, Trainer, max_length"}
    rows = tuple(
        (names.get(name, name), count / seconds, seconds, taken[OURS] / seconds) for name, seconds in taken.items()
    )
    columns = ("what", "samples/s", "s an epoch", "× manta train")
    checks = (
        Check(what="samples/s against group_by_length", figure=taken[GROUPED] / taken[OURS], mark=1.0),
        Check(what="samples/s against padding to max_length", figure=taken[PADDED] / taken[OURS], mark=1.5),
        Check(
            what="Ray Train's own cost", figure=100 * (taken[OURS] / taken[ALONE] - 1), mark=5, at_least=False, unit="%"
        ),
    )
    return Report(
        bench="train",
        title="fine-tuning with two workers",
        command=ask.command("train"),
        tables=(Table(title=f"{count} texts, {WORKERS} workers, float32", columns=columns, rows=rows),),
        checks=() if ask.quick else checks,
        notes=(
            f"BERT of {sizes['num_hidden_layers']} layers, {sizes['hidden_size']} wide, random weights; texts of 4 to "
            f"480 words (sha256 {digest}), cut at {longest} tokens; medians of {turns}",
            f"batches of {BATCH} rows a worker for the Trainer, of {BUDGET} padded tokens a worker for ours",
            f"the Trainer does one epoch, ours {EPOCHS}, with Ray and without",
        ),
        versions=versions("ray", "torch", "transformers", "accelerate"),
    )


def _inputs(folder: Path, count: int, *, small: bool) -> str:
    """Model and rows; returns the texts' hash."""
    from transformers import BertConfig

    from pipelines.tasks.tiny import vocabulary, write_model, write_tokenizer

    longest = 64 if small else 256
    sizes: dict[str, Any] = dict(QUICK_SIZES if small else SIZES)
    config = BertConfig(
        vocab_size=len(vocabulary()),
        max_position_embeddings=longest,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        **sizes,
    )
    (folder / "model").mkdir()
    write_tokenizer(folder / "model", max_length=longest)
    write_model(folder / "model", "BertForSequenceClassification", config)
    made = texts(count)
    table = {"text": [row["text"] for row in made.rows], "label": [LABELS[n % len(LABELS)] for n in range(count)]}
    pq.write_table(pa.table(table), folder / "rows.parquet")
    return made.sha256


def _ours(folder: Path) -> float:
    """Seconds an epoch in the loop of ``manta train``; leaves ``encoded/`` for the worker alone."""
    how = settings()
    asked = ("epochs", "learning_rate", "token_budget", "precision", "warmup")
    sets = [part for name in asked for part in ("--set", f"train.{name}={getattr(how, name)}")]
    words = ("train", "bert", "--task", "text-classification", "--data", str(folder / "rows.parquet"))
    more = ("--checkpoint", str(folder / "model"), "--output", str(folder / "output"), "--workers", str(WORKERS))
    record = json.loads(watch(manta(*words, *more, *sets, "--json", "--quiet")).out)
    return float(record["seconds"]["loop"]) / EPOCHS


def _torchrun(folder: Path, how: How) -> float:
    """Seconds an epoch in the loop of a training under torchrun."""
    run = ("torch.distributed.run", "--standalone", f"--nproc-per-node={WORKERS}", "-m", "jobs.bench.common.trainers")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun and Ray Train set it for several workers
    watch([sys.executable, "-m", *run, str(folder), how], env=environment)
    seconds = float(json.loads((folder / f"{how}.json").read_text("utf-8"))["seconds"])
    return seconds / EPOCHS if how == "ours" else seconds
