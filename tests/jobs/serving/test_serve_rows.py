"""What an endpoint answers is what a run writes."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from reportlab.pdfgen.canvas import Canvas

from jobs import run
from jobs.cluster import Resources
from jobs.pools import Layout
from jobs.prepare import Request, prepare
from pipelines import families, family
from pipelines.tasks.tiny import WORDS
from stages.base import OpenStages
from stages.columns import COLUMNS, results_schema
from stages.listing import listing
from stages.settings import Predict, Render, Settings
from stages.tables import inspect
from stages.write import RunStamp
from tests import corpus
from tests.pipelines.sample_rows import SHORT, SIZES, sample_rows

TASKS = [(name, task.name) for name in families() for task in family(name).tasks]
SETTINGS = Settings(predict=Predict(dtype="float32", device="cpu"), render=Render(dpi=100))
OWN = {"source", "run_id", "at"}
"""Columns that say who asked, and when."""


def same(ours: object, theirs: object, where: str) -> None:
    """Numbers within 1e-5, all else exactly."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for name, value in theirs.items():
            same(ours[name], value, f"{where}.{name}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for n, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{n}]")
    elif isinstance(theirs, float):
        assert math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-5), f"{where}: {ours} is not {theirs}"
    else:
        assert ours == theirs, f"{where}: {ours!r} is not {theirs!r}"


def plain(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return json.loads(json.dumps([{name: row[name] for name in row if name not in OWN} for row in rows]))


def by_batch(name: str, task: str, checkpoint: Path, table: Path, output: Path) -> list[dict[str, object]]:
    """The rows of results/: a run's own stages over the table, without Ray between them."""
    request = Request(
        family=name, task=task, inputs=[str(table)], output=str(output), checkpoint=str(checkpoint), settings=SETTINGS
    )
    prepared = prepare(request)
    prepared.rehearsal.wait()
    stamp = RunStamp(
        run_id="r",
        family=name,
        task=task,
        checkpoint=str(checkpoint),
        fingerprint=prepared.fingerprint,
        read_fingerprint=prepared.read_fingerprint,
    )
    layout = Layout(
        task=prepared.task,
        settings=SETTINGS,
        stamp=stamp,
        output=str(output),
        pages=str(output),
        resources=Resources(cpus=1, gpus=0),
    )
    [listed] = [one for part in listing([str(table)]) for one in part.to_pylist()]
    file = inspect(listed["uri"], listed["source"], listed["size"], prepared.columns, SETTINGS.limits)
    [pool] = layout.tables(prepared.columns, None)
    stages = OpenStages(pool.stages)
    for receipts in stages(file.slices([(0, file.rows)], 1000)):
        assert receipts["ok"].to_pylist() == [True] * file.rows
    stages.close()
    return ds.dataset(output / "results").to_table().sort_by("record").to_pylist()


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_rows_are_those_of_batch(endpoint, tiny, tmp_path, name, task):
    kind = family(name).task(task)
    rows = sample_rows(kind, seed=5, sizes=SHORT if task == "causal-lm" else SIZES)
    columns = dict.fromkeys(column for row in rows for column in row if column in (*kind.reads, *kind.optional))
    rows = [{"uri": f"row {n}", **{column: row.get(column) for column in columns}} for n, row in enumerate(rows)]
    types = pa.schema([pa.field(column, COLUMNS[column].type) for column in ("uri", *columns)])
    pq.write_table(pa.Table.from_pylist(rows, schema=types), tmp_path / "rows.parquet")

    wanted = by_batch(name, task, tiny(name, task), tmp_path / "rows.parquet", tmp_path / "out")
    told = endpoint.post(f"/v1/{name}/{task}", json={"rows": [as_json(row) for row in rows]})

    assert told.status_code == 200, told.text
    answer = told.json()
    assert answer["errors"] == []
    assert list(answer["rows"][0]) == results_schema(kind.writes).names
    assert {row["run_id"] for row in answer["rows"]} == {told.headers["X-Request-ID"]}
    skip = {"doc_id"}  # of the table that a request is not
    strip = lambda found: [{k: v for k, v in row.items() if k not in skip} for row in plain(found)]
    for row in wanted:
        row["at"] = None
    same(strip(answer["rows"]), strip(wanted), f"{name}/{task}")
    assert len({str({n: row[n] for n in kind.writes}) for row in answer["rows"]}) > len(rows) / 2


def as_json(row: dict[str, object]) -> dict[str, object]:
    return {name: base64.b64encode(v).decode() if isinstance(v, bytes) else v for name, v in row.items()}


def different_pages(path: Path) -> None:
    """Pages that score apart: which of two alike is the best is left to the last digit."""
    canvas = Canvas(str(path), pagesize=(595, 842))
    for page in range(1, 4):
        for line in range(4 * page):
            canvas.drawString(60, 760 - 24 * line, " ".join(WORDS[(5 * line + 17 * page) % 80 :][:6]))
        canvas.showPage()
    canvas.save()


@pytest.mark.parametrize(
    ("name", "task", "fields"),
    [
        ("layoutlmv2", "document-classification", {}),
        ("layoutlm", "document-question-answering", {"question": "What is the total?"}),
    ],
)
def test_documents_are_those_of_a_run(endpoint, tiny, tmp_path, name, task, fields):
    folder = corpus.corpus(tmp_path / "in")
    different_pages(folder / "three.pdf")
    options = {"questions": [fields["question"]]} if fields else None
    result = run(
        name,
        task,
        [str(folder)],
        str(tmp_path / "out"),
        checkpoint=str(tiny(name, task)),
        settings=SETTINGS,
        options=options,
    )
    tables = {
        part: ds.dataset(tmp_path / "out" / part).to_table().to_pylist() for part in ("results", "errors", "documents")
    }
    assert result.record.documents.listed == 6
    for path in sorted(folder.iterdir()):
        mine = {part: [row for row in rows if Path(row["uri"]).name == path.name] for part, rows in tables.items()}
        told = endpoint.send(f"/v1/{name}/{task}", path, **fields)
        if mine["errors"]:
            assert told.status_code in (413, 415, 422), told.text
            error = told.json()["error"]
            assert [(error["stage"], error["code"])] == [(row["stage"], row["code"]) for row in mine["errors"]]
            assert str(path) not in told.text
            continue
        assert told.status_code == 200, told.text
        for part, key in (("rows", "results"), ("documents", "documents")):
            ours = told.json()[part]
            theirs = sorted(mine[key], key=lambda row: (row.get("page") or 0, row["record"] or 0))
            for row in (*ours, *theirs):
                row["uri"], row["at"] = Path(row["uri"]).name, None
                row.pop("fingerprint") if options else None  # the question is an option there, a field here
            same(plain(ours), plain(theirs), f"{path.name} {part}")
