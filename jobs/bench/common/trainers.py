"""A rank of a training that torchrun started: transformers' Trainer as its users call it, or ours without Ray.

``torchrun … -m jobs.bench.common.trainers FOLDER HOW``; rank 0 writes ``FOLDER/HOW.json`` with the seconds in the loop.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

How = Literal["group_by_length", "max_length", "ours"]
BATCH = 16
"""Rows of one rank's batch."""
BUDGET = 1600
"""Padded tokens of ours: about as many as BATCH texts of the bench have."""
RATE = 5e-5
EPOCHS = 3
"""Of ours: what Ray Train starts beside the first steps is no part of a steady state."""


def main(folder: Path, how: How) -> None:
    """Trains one epoch over ``FOLDER/rows.parquet`` from ``FOLDER/model``."""
    seconds = _ours(folder) if how == "ours" else _theirs(folder, how)
    if seconds is not None:
        (folder / f"{how}.json").write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


def _theirs(folder: Path, how: How) -> float | None:
    """A classifier fine-tuned as the documentation does: tokenised once, padded by the collator."""
    import pyarrow.parquet as pq
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model", local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model", local_files_only=True)
    numbers = model.config.label2id
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    longest = longest_of(folder)
    encoded = [{**tokenizer(row["text"], truncation=True, max_length=longest)} for row in rows]
    examples = [{**one, "labels": numbers[row["label"]]} for one, row in zip(encoded, rows, strict=True)]
    padding: Any = {"padding": "max_length", "max_length": longest} if how == "max_length" else {"padding": True}
    trainer = Trainer(
        model=model,
        args=_arguments(folder / how, grouped=how == "group_by_length"),
        train_dataset=_Rows(examples),
        data_collator=DataCollatorWithPadding(tokenizer, **padding),
    )
    done = trainer.train()
    return float(done.metrics["train_runtime"]) if trainer.is_world_process_zero() else None


class _Rows(list[dict[str, Any]]):
    """A dataset in memory, as the Trainer takes it."""


def _arguments(output: Path, *, grouped: bool) -> Any:  # noqa: ANN401 - TrainingArguments; torch is imported late
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=1,
        learning_rate=RATE,
        per_device_train_batch_size=BATCH,
        train_sampling_strategy="group_by_length" if grouped else "random",
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )


def longest_of(folder: Path) -> int:
    """Tokens that the longest text may have: the model's limit."""
    config = json.loads((folder / "model" / "config.json").read_text("utf-8"))
    return int(config["max_position_embeddings"])


def _ours(folder: Path) -> float | None:
    """What a worker of ``manta train`` does, on the rows that it encoded, with nothing of Ray."""
    import torch
    import torch.distributed as dist

    from jobs.training.learn import learn
    from jobs.training.plan import Plan
    from pipelines.checkpoint import resolve
    from pipelines.tasks.text_classification import TextClassification

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    device = torch.device("cuda", dist.get_rank() % torch.cuda.device_count()) if cuda else torch.device("cpu")
    task = TextClassification(resolve(str(folder / "model")))
    outcome = learn(Plan(task=task, settings=settings(), output=str(folder / "output")), device)
    dist.destroy_process_group()
    return None if outcome is None else outcome.seconds


def settings() -> Any:  # noqa: ANN401 - Train; kept light for the driver
    """Those of ours, in Ray and outside."""
    from jobs.training.settings import Train

    return Train(epochs=EPOCHS, learning_rate=RATE, token_budget=BUDGET, precision="float32", warmup=0.0)


def start(arguments: Sequence[str]) -> None:
    """The command line of a rank."""
    folder, how = arguments
    assert how in {"group_by_length", "max_length", "ours"}
    main(Path(folder), how)  # type: ignore[arg-type]


if __name__ == "__main__":
    start(sys.argv[1:])
