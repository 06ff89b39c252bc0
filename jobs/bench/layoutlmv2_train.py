"""LayoutLMv2 fine-tuned on invoices by two workers: entity F1 on pages of names that training never saw.

The text part is small (3 layers, 160 wide), the backbone light, both untrained; its norms are synchronised over the
workers. The recipe is ``manta train`` with settings that any user has.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.learning import settings_note
from jobs.bench.common.machine import versions
from jobs.bench.common.programs import manta, watch
from jobs.bench.common.report import Check, Report, Table

PAGES, QUICK_PAGES = 1_600, 24
HELD_OUT, QUICK_HELD_OUT = 100, 4
WORKERS = 2
SETTINGS: Mapping[str, object] = {
    "train.epochs": 4,
    "train.learning_rate": 1.2e-3,
    "train.token_budget": 2400,
    "augment.box_jitter": 2,
    "augment.page_shift": 30,
    "augment.page_scale": 0.05,
}


def measure(ask: Ask) -> Report:
    """Entity F1 of the trained model, and how long it took."""
    ask.refuse_data("layoutlmv2_train")
    pages, held_out = (QUICK_PAGES, QUICK_HELD_OUT) if ask.quick else (PAGES, HELD_OUT)
    settings = {**SETTINGS, "train.epochs": 1} if ask.quick else SETTINGS
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as name:
        folder = Path(name)
        _inputs(folder, pages, held_out)
        tell(f"{pages} pages made; manta train starts")
        record = _train(folder, settings)
    metrics, seconds = record["metrics"], record["seconds"]
    assert isinstance(metrics, dict)
    assert isinstance(seconds, dict)
    figures = ("entity_f1", "entity_precision", "entity_recall", "word_accuracy")
    rows = tuple((figure, float(metrics[figure])) for figure in figures)
    return Report(
        bench="layoutlmv2_train",
        title="LayoutLMv2 learns invoices",
        command=ask.command("layoutlmv2_train"),
        tables=(Table(title=f"{held_out} held-out pages", columns=("metric", "value"), rows=rows),),
        checks=() if ask.quick else (Check(what="entity F1", figure=float(metrics["entity_f1"]), mark=0.9, unit=""),),
        notes=(
            f"{pages} generated pages, {WORKERS} workers, {record['steps']} steps, {seconds['train']:.0f} s of "
            f"training, {seconds['encode']:.0f} s of encoding",
            settings_note(settings),
        ),
        versions=versions("ray", "torch", "transformers"),
    )


def _inputs(folder: Path, pages: int, held_out: int) -> None:
    """Tables and the untrained checkpoint."""
    import pyarrow.parquet as pq

    from jobs.invoices.corpus import looking_rows, texts
    from jobs.invoices.names import TEST
    from jobs.invoices.start_looking import write_start

    training = looking_rows(1, 0, pages)
    pq.write_table(training, folder / "training.parquet")
    pq.write_table(looking_rows(2, 0, held_out, TEST), folder / "held-out.parquet")
    write_start(folder / "start", texts(training))


def _train(folder: Path, settings: Mapping[str, object]) -> dict[str, object]:
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    words = ("train", "layoutlmv2", "--task", "token-classification", "--checkpoint", str(folder / "start"))
    data = ("--data", str(folder / "training.parquet"), "--eval-data", str(folder / "held-out.parquet"))
    more = ("--output", str(folder / "output"), "--workers", str(WORKERS), *sets)
    record: dict[str, object] = json.loads(watch(manta(*words, *data, *more, "--json", "--quiet")).out)
    return record
