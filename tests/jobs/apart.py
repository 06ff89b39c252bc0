"""A run in a process of its own, that can be killed, or have an environment of its own; the same one here; and what
both leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs import run
from jobs.record import RunRecord
from stages.settings import Predict, Settings
from stages.storage import open_storage

RUN = """
import sys
from stages.errors import MantaError
from tests.jobs.apart import here
try:
    record = here(*sys.argv[1:])
except MantaError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
print(record.to_json())
sys.exit(record.exit_code)
"""


def start(files: Path | str, output: Path | str, checkpoint: Path, *, before: str = "") -> subprocess.Popen[str]:
    """OCR and token classification of ``files`` into ``output``; ``before`` is Python that runs first."""
    command = [sys.executable, "-c", before + RUN, str(files), str(output), str(checkpoint)]
    here = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=here, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def here(files: Path | str, output: Path | str, checkpoint: Path | str) -> RunRecord:
    """What ``start`` runs, in this process and its cluster: in a third of the time."""
    settings = Settings(predict=Predict(dtype="float32"), text="ocr")
    options = {"allow_random_head": True}
    what = ("layoutlm", "token-classification", [str(files)], str(output))
    return run(*what, checkpoint=str(checkpoint), settings=settings, options=options, max_error_rate=1.0).record


def finish(process: subprocess.Popen[str], expected: int = 0) -> dict:
    """Its record, once it has ended with the exit code ``expected``."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == expected, f"exit code {process.returncode}: {err[-3000:]}"
    return json.loads(out) if expected in {0, 3} else {"stderr": err}


def results(output: Path | str) -> pa.Table | None:
    """results/ as a plain reader sees it."""
    storage = open_storage(str(output))
    names = [entry.name for entry in storage.list("results/") if entry.name.endswith(".parquet")]
    tables = [pq.read_table(pa.BufferReader(storage.read(name))) for name in names]
    return pa.concat_tables(tables) if tables else None


def committed(output: Path | str) -> int:
    """Rows of results/."""
    found = results(output)
    return found.num_rows if found else 0


def answers(output: Path | str) -> list[tuple]:
    """What was read and answered, in one order."""
    rows = results(output).to_pylist()
    return sorted((Path(r["uri"]).name, r["page"], r["record"], r["words"], r["word_labels"]) for r in rows)
