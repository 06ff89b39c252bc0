"""What an endpoint answers is what a run writes."""

from __future__ import annotations

import base64
import json
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
from jobs.serving.refusals import STATUSES
from jobs.ways_in import medium
from pipelines import families, family
from pipelines.contract.rows import LENGTHS, SIZES, mask_of, sample_rows
from pipelines.tasks.tiny import WORDS
from stages.base import OpenStages
from stages.columns import COLUMNS, FOUND_AS, results_schema
from stages.errors import Code
from stages.listing import listing
from stages.settings import Predict, Render, Settings
from stages.tables import inspect
from stages.write import RunStamp
from tests import corpus
from tests.jobs.serving.alike import plain, same
from tests.jobs.serving.media import FILES, image, table_rows

LABELS = ["a red thing", "something blue", "a house"]
TASKS = [(name, task.name) for name in families() for task in family(name).tasks]
SETTINGS = Settings(predict=Predict(dtype="float32", device="cpu"), render=Render(dpi=100))


def by_batch(name: str, task: str, checkpoint: Path, source: Path, output: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of results/ and errors/: a run's own stages over a table or a document, without Ray between them."""
    request = Request(
        family=name, task=task, inputs=[str(source)], output=str(output), checkpoint=str(checkpoint), settings=SETTINGS
    )
    prepared = prepare(request)
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
        resources=Resources(machines=(1,), gpus=0),
        takes=prepared.rehearsal.wait(),
    )
    [listed] = list(listing([str(source)]))
    if source.suffix == ".parquet":
        [one] = listed.to_pylist()
        file = inspect(one["uri"], one["source"], one["size"], prepared.columns, SETTINGS.limits)
        pools, rows = layout.tables(prepared.columns, None), file.slices([(0, file.rows)], 1000)
    else:
        pools, rows = layout.documents(None), listed.append_column("done", pa.nulls(1, COLUMNS["done"].type))
    stages = OpenStages([stage for pool in pools for stage in pool.stages])
    receipts = pa.concat_tables(list(stages(rows)))
    stages.close()
    assert receipts.num_rows
    parts = {part: output / part for part in ("results", "errors")}
    return {part: ds.dataset(path).to_table().to_pylist() if path.exists() else [] for part, path in parts.items()}


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_rows_are_those_of_batch(endpoint, tiny, tmp_path, name, task):
    kind, checkpoint = family(name).task(task), tiny(name, task)
    samples = sample_rows(kind, seed=5, sizes=LENGTHS.get(task, SIZES), mask=mask_of(checkpoint))
    rows = table_rows(kind, samples)
    inside = {outside: column for column, outside in FOUND_AS.items()}
    types = [pa.field(column, COLUMNS[inside.get(column, column)].type) for column in rows[0]]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), tmp_path / "rows.parquet")

    wanted = by_batch(name, task, checkpoint, tmp_path / "rows.parquet", tmp_path / "out")["results"]
    told = endpoint.post(f"/v1/{name}/{task}", json={"rows": [as_json(row) for row in rows]})

    assert told.status_code == 200, told.text
    answer = told.json()
    assert answer["errors"] == []
    assert len(wanted) == len(rows)
    assert list(answer["rows"][0]) == results_schema(kind.writes).names
    assert {row["run_id"] for row in answer["rows"]} == {told.headers["X-Request-ID"]}
    skip = {"doc_id"}  # of the table that a request is not
    strip = lambda found: [{k: v for k, v in row.items() if k not in skip} for row in plain(found)]
    for row in wanted:
        row["at"] = None
    same(strip(answer["rows"]), strip(sorted(wanted, key=lambda row: row["record"])), f"{name}/{task}")
    assert len({str({n: row[n] for n in kind.writes}) for row in answer["rows"]}) > len(rows) / 2


def as_json(row: dict[str, object]) -> dict[str, object]:
    return {name: base64.b64encode(v).decode() if isinstance(v, bytes) else v for name, v in row.items()}


HEARD_OR_SEEN = [
    (name, task, column)
    for name, task in TASKS
    if (column := medium(family(name).task(task))) and len(family(name).task(task).reads) == 1
]


@pytest.mark.parametrize(("name", "task", "column"), HEARD_OR_SEEN)
def test_files_are_those_of_batch(endpoint, tiny, tmp_path, name, task, column):
    """Each as a document in a form, and one that is broken; as the file of a row's column it answers alike."""
    kind, url = family(name).task(task), f"/v1/{name}/{task}"
    fields = {"candidate_labels": json.dumps(LABELS)} if "candidate_labels" in kind.optional else {}
    file = tmp_path / {"image": "a.png", "audio": "a.wav", "video": "a.mp4"}[column]
    file.write_bytes(FILES[column](3))
    told = endpoint.send(url, file, **fields)
    assert told.status_code == 200, told.text
    [row], [document] = told.json()["rows"], told.json()["documents"]
    assert (row["uri"], document["status"], document["pages"]) == (file.name, "ok", 1)
    with file.open("rb") as content:
        [alike] = endpoint.post(url, files={column: (file.name, content)}, data=fields).json()["rows"]
    answers = lambda found: {one: found[one] for one in kind.writes}
    same(answers(alike), answers(row), "as a row")
    if fields:  # a run's documents bring no labels of their own
        return
    found = by_batch(name, task, tiny(name, task), file, tmp_path / "out")
    for one in (row, *found["results"]):
        one["uri"], one["at"] = Path(one["uri"]).name, None
    same(plain([row]), plain(found["results"]), file.name)
    broken = tmp_path / f"b{file.suffix}"
    broken.write_bytes(b"nothing that anyone opens")
    told = endpoint.send(url, broken)
    [error] = by_batch(name, task, tiny(name, task), broken, tmp_path / "broken")["errors"]
    assert told.status_code == STATUSES[Code(error["code"])], told.text
    assert (told.json()["error"]["stage"], told.json()["error"]["code"]) == (error["stage"], error["code"])
    assert str(tmp_path) not in told.text


def test_what_is_looked_for_is_a_file_of_its_own(endpoint):
    url = "/v1/owlvit/image-guided-detection"
    files = {name: (f"{name}.png", image(number)) for number, name in enumerate(("image", "query_image"))}
    [row] = endpoint.post(url, files=files).json()["rows"]
    [alike] = endpoint.post(url, json={"rows": [as_json({name: one[1] for name, one in files.items()})]}).json()["rows"]
    same(row["objects"], alike["objects"], "objects")
    told = endpoint.post(url, files={"file": ("a.png", image(1))})
    assert (told.status_code, told.json()["error"]["code"]) == (422, "encode_failed")
    assert "query_image" in told.json()["error"]["message"]


def different_pages(path: Path) -> None:
    """Pages that score apart: which of two alike is the best is left to the last digit."""
    canvas = Canvas(str(path), pagesize=(595, 842))
    for page in range(1, 4):
        for line in range(4 * page):
            canvas.drawString(60, 760 - 24 * line, " ".join(WORDS[(5 * line + 17 * page) % 80 :][:6]))
        canvas.showPage()
    canvas.save()


def test_pages_with_their_looks_are_those_of_batch(endpoint, tiny, tmp_path):
    name, task = "layoutlmv2", "document-classification"
    different_pages(tmp_path / "three.pdf")
    told = endpoint.send(f"/v1/{name}/{task}", tmp_path / "three.pdf").json()
    wanted = by_batch(name, task, tiny(name, task), tmp_path / "three.pdf", tmp_path / "out")["results"]
    for row in (*told["rows"], *wanted):
        row["uri"], row["at"] = Path(row["uri"]).name, None
    same(plain(told["rows"]), plain(sorted(wanted, key=lambda row: row["page"])), task)


def test_documents_are_those_of_a_run(endpoint, tiny, tmp_path):
    name, task, fields = "layoutlm", "document-question-answering", {"question": "What is the total?"}
    folder = corpus.corpus(tmp_path / "in")
    different_pages(folder / "three.pdf")
    result = run(
        name,
        task,
        [str(folder)],
        str(tmp_path / "out"),
        checkpoint=str(tiny(name, task)),
        settings=SETTINGS,
        options={"questions": [fields["question"]]},
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
                row.pop("fingerprint")  # the question is an option there, a field here
            same(plain(ours), plain(theirs), f"{path.name} {part}")
