"""PDFs to index to search by two commands on a real Ray, with a real encoder; and what is refused there."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from reportlab.pdfgen.canvas import Canvas

import pipelines
from jobs.bench.common.frames import write_retribert
from pipelines import Checkpoint
from pipelines.tasks.dense_index import index_texts
from stages.vectors import about

pytestmark = pytest.mark.usefixtures("ray_local")

INVOICE = "The invoice of ten oak desks must be paid within thirty days."
KITTEN = "A kitten sleeps on the warm sofa while it rains outside."
MATCH = "The final was won by the team from Denver in the last minute."
QUESTIONS = {"When is the payment due?": INVOICE, "Where does the small cat rest?": KITTEN}


def pdf(path: Path, *pages: str) -> None:
    canvas = Canvas(str(path), pagesize=(595, 842), invariant=True)
    for text in pages:
        canvas.setFont("Helvetica", 14)
        canvas.drawString(60, 760, text)
        canvas.showPage()
    canvas.save()


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> str:
    """all-MiniLM-L6-v2's encoder as a RetriBERT."""
    folder = tmp_path_factory.mktemp("retribert")
    write_retribert(folder)
    return str(folder)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("asked") / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": one}) + "\n" for one in (*QUESTIONS, "Who won the match?")))
    return str(path)


def best(output: Path) -> dict[str, dict]:
    rows = ds.dataset(str(output / "results"), format="parquet").to_table().to_pylist()
    return {row["question"]: row["hits"][0] for row in rows}


def test_pdfs_are_indexed_and_searched_by_two_commands(minilm, asked, tmp_path, manta, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where Ray's workers are not
    pdfs, index, hits = Path("pdfs"), Path("index"), Path("hits")
    pdfs.mkdir()
    pdf(pdfs / "both.pdf", INVOICE, KITTEN)
    (pdfs / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")
    indexing = ("run", "retribert", "--task", "index", "--input", pdfs, "--output", index, "--checkpoint", minilm)
    searching = (
        "run", "retribert", "--task", "search", "--input", asked, "--output", hits, "--checkpoint", minilm,
        "--set", f"task.index={index}", "--set", "task.top_k=2",
    )  # fmt: skip

    code, out, _ = manta(*indexing, "--json")
    record = json.loads(out)
    assert (code, record["pages"]["ok"], record["errors"]) == (3, 2, {"corrupt": 1})
    assert about(str(index / "index")).passages == 2
    before = about(str(index / "index")).content
    code, _, err = manta(*searching)
    assert code == 0, err
    found = best(hits)
    assert {question: found[question]["text"].strip() for question in QUESTIONS} == QUESTIONS
    assert {Path(hit["uri"]).name for hit in found.values()} == {"both.pdf"}
    assert all(0.2 < found[question]["score"] <= 1 for question in QUESTIONS)

    pdf(pdfs / "new.pdf", MATCH)
    code, out, _ = manta(*indexing, "--json")
    record = json.loads(out)
    assert (record["pages"]["ok"], record["documents"]["skipped"]) == (1, 2), "only what is new is embedded"
    assert about(str(index / "index")).passages == 3
    assert about(str(index / "index")).content != before, "another index makes answers anew"


def test_an_index_that_does_not_fit_is_refused_in_one_line(minilm, asked, tiny, tmp_path, manta):
    def search(index: Path, checkpoint: str) -> str:
        code, _, err = manta(
            "run", "retribert", "--task", "search", "--input", asked, "--output", tmp_path / "out",
            "--checkpoint", checkpoint, "--set", f"task.index={index}", "--quiet",
        )  # fmt: skip
        assert code == 2
        (line,) = err.strip().splitlines()
        assert not (tmp_path / "out" / "results").exists()
        return line

    folder, kind = str(tiny("retribert", "index")), pipelines.task("retribert", "index")
    index_texts(kind(Checkpoint(ref="another", path=folder, content="of another")), ["a city", "a dog"], tmp_path)
    assert "holds 16 numbers a passage, the checkpoint makes 384" in search(tmp_path, minilm)
    assert "was made with another checkpoint: index the corpus again" in search(tmp_path, folder)
    assert "no index at" in search(tmp_path / "nothing", minilm)


@pytest.mark.parametrize(
    ("family", "lang", "line"),
    [
        ("t5", "target_lang=fr", "does not translate en to fr"),
        ("fsmt", "source_lang=de", "translates en to de, not de"),
    ],
)
def test_a_language_pair_that_the_checkpoint_lacks_is_refused(family, lang, line, tiny, tmp_path, manta):
    table = tmp_path / "rows.jsonl"
    table.write_text('{"text": "The dog"}\n')
    code, _, err = manta(
        "run", family, "--task", "translation", "--input", table, "--output", tmp_path / "out",
        "--checkpoint", tiny(family, "translation"), "--set", f"task.{lang}", "--quiet",
    )  # fmt: skip
    assert code == 2
    (told,) = err.strip().splitlines()
    assert line in told
