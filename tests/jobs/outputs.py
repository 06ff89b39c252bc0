"""Outputs made by schema, as runs leave them behind, for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.record import DocumentCounts, PageCounts, RunRecord
from stages import columns

Row = dict[str, object]
AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
COMMAND = "manta run layoutlm --task token-classification --input 'a folder' --output out"


def write_table(
    output: Path, table: str, schema: pa.Schema, rows: Sequence[Mapping[str, object]], part: str = "0"
) -> None:
    """Writes one part; columns that a row lacks are filled in or null."""
    common: Row = {"source": "1-1", "doc_id": "", "run_id": "r1", "at": AT, "fingerprint": "f1", "checkpoint": "tiny"}
    filled = [{name: row.get(name, common.get(name)) for name in schema.names} for row in rows]
    (output / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(filled, schema=schema), output / table / f"{part}.parquet")


def write_pages(output: Path, rows: Sequence[Row], part: str = "0") -> None:
    write_table(output, "pages", columns.schema(columns.PAGES), rows, part)


def write_results(output: Path, answers: Sequence[str], rows: Sequence[Row], part: str = "0") -> None:
    write_table(output, "results", columns.results_schema(answers), rows, part)


def write_documents(output: Path, answers: Sequence[str], rows: Sequence[Row], part: str = "0") -> None:
    write_table(output, "documents", columns.documents_schema(answers), rows, part)


def write_errors(output: Path, rows: Sequence[Row], part: str = "0") -> None:
    write_table(output, "errors", columns.schema(columns.ERRORS), rows, part)


def write_run(output: Path, record: RunRecord) -> None:
    (output / "runs").mkdir(parents=True, exist_ok=True)
    (output / "runs" / f"{record.run_id}.json").write_text(record.to_json())


def record(run_id: str = "r1", **changes: object) -> RunRecord:
    """A finished run of two good documents and one bad one."""
    made = RunRecord(
        run_id=run_id,
        family="layoutlm",
        task="token-classification",
        checkpoint="org/tiny@1",
        fingerprint="f1",
        status="finished",
        exit_code=3,
        documents=DocumentCounts(listed=3, ok=1, partial=1, failed=1),
        pages=PageCounts(ok=3, failed=2, text_layer=2, ocr=1),
        errors={"corrupt": 1, "ocr_timeout": 1},
        seconds=12.0,
        stage_seconds={"read": 8.0, "predict": 3.5},
        samples=[[float(i), 0.25 * i, float(i > 6)] for i in range(13)],
        sandbox="landlock+seccomp",
        started="2026-03-01T12:29:48+00:00",
        finished="2026-03-01T12:30:00+00:00",
        command=COMMAND,
    )
    return RunRecord(**{**vars(made), **changes})  # type: ignore[arg-type]


def page(uri: str, number: int, words: Sequence[str], *, pages: int = 1, reader: str = "layer:pdfium") -> Row:
    """A row of pages/ with the words in lines of five."""
    boxes = [
        [60 + 180 * (i % 5), 60 + 30 * (i // 5), 200 + 180 * (i % 5), 80 + 30 * (i // 5)] for i in range(len(words))
    ]
    return {
        "uri": uri, "page": number, "pages": pages, "width": 595.0, "height": 842.0, "words": list(words),
        "boxes": boxes, "text": " ".join(words), "reader": reader, "read_fingerprint": "rf",
    }  # fmt: skip


def entity(words: Sequence[str], boxes: Sequence[Sequence[int]], start: int, end: int, label: str, score: float) -> Row:
    """The words from start to before end as an entity."""
    some = boxes[start:end]
    box = [min(b[0] for b in some), min(b[1] for b in some), max(b[2] for b in some), max(b[3] for b in some)]
    text = " ".join(words[start:end])
    return {"text": text, "label": label, "score": score, "word_start": start, "word_end": end, "box": box}


TOKEN_ANSWERS = ("words", "boxes", "word_labels", "word_scores", "entities")


def token_row(read: Row, entities: Sequence[tuple[int, int, str, float]]) -> Row:
    """A row of results/ of token classification over a row of pages/."""
    words, boxes = read["words"], read["boxes"]
    assert isinstance(words, list)
    assert isinstance(boxes, list)
    labels, scores = ["O"] * len(words), [0.99] * len(words)
    for start, end, label, score in entities:
        for i in range(start, end):
            labels[i], scores[i] = f"{'B' if i == start else 'I'}-{label}", score
    found = [entity(words, boxes, *one) for one in entities]
    return {**read, "word_labels": labels, "word_scores": scores, "entities": found}


def token_output(output: Path, *, name: str = "/data/invoice.pdf", word: str = "Total") -> Path:
    """Three documents: one of two pages, one with a failed page, one broken; ``name`` and ``word`` are of the first."""
    first = page(name, 1, ["Invoice", "No.", "42", word, "12.50", "EUR"], pages=2)
    second = page(name, 2, ["Terms", "of", "payment", "2026-03-31"], pages=2, reader="ocr:tesserocr")
    third = page("/data/scan.pdf", 1, ["Sum", "99.00"], pages=2, reader="ocr:tesserocr")
    write_pages(output, [first, second, third])
    marked = [[(2, 3, "NUMBER", 0.9), (4, 6, "TOTAL", 0.8)], [(3, 4, "DATE", 0.3)], [(1, 2, "TOTAL", 0.97)]]
    rows = [token_row(read, found) for read, found in zip((first, second, third), marked, strict=True)]
    write_results(output, TOKEN_ANSWERS, rows)
    statuses = {name: ("ok", 2), "/data/scan.pdf": ("partial", 2), "/data/broken.pdf": ("failed", None)}
    write_documents(output, (), [{"uri": u, "status": s, "pages": n} for u, (s, n) in statuses.items()])
    write_errors(
        output,
        [
            {"uri": "/data/broken.pdf", "stage": "plan", "code": "corrupt", "message": "no reader opens it",
             "detail": "pdfium: format", "attempts": 1},
            {"uri": "/data/scan.pdf", "page": 2, "stage": "read", "code": "ocr_timeout",
             "message": "no progress for 120 s", "detail": "", "attempts": 3},
        ],
    )  # fmt: skip
    write_run(output, record())
    return output


def question_output(output: Path) -> Path:
    """Two pages of one document, asked two questions each."""
    reads = [page("/data/letter.pdf", n, ["Dear", "Ms", "Ray", "the", "total", "is", str(n)], pages=2) for n in (1, 2)]
    write_pages(output, reads)
    answers = ("question", "answer", "score", "start", "end")
    rows = [
        {**read, "record": k, "question": q, "answer": a, "score": s / read["page"], "start": start, "end": end}  # type: ignore[operator]
        for read in reads
        for k, (q, a, s, start, end) in enumerate([("Who?", "Ms Ray", 0.9, 1, 2), ("How much?", "is", 0.6, 5, 5)])
    ]
    write_results(output, answers, rows)
    write_documents(output, answers, [{**row, "status": "ok"} for row in rows[:2]])
    write_run(output, record(task="document-question-answering", exit_code=0, errors={}))
    return output


def text_output(output: Path) -> Path:
    """What ``manta run text`` leaves: pages only."""
    write_pages(output, [page("/data/a.pdf", 1, ["Hello", "world"]), page("/data/b.pdf", 1, ["مرحبا", "世界"])])
    write_documents(output, (), [{"uri": f"/data/{n}.pdf", "status": "ok", "pages": 1} for n in "ab"])
    write_run(output, record(family="text", task="", exit_code=0, errors={}))
    return output


def table_output(output: Path, answers: Sequence[str], rows: Sequence[Row]) -> Path:
    """Answers to the rows of a table."""
    write_results(
        output, answers, [{"uri": "/data/t.jsonl", "page": 1, "pages": 1, "record": i, **r} for i, r in enumerate(rows)]
    )
    write_run(output, record(family="bert", task="text-classification", exit_code=0, errors={}))
    return output


def older_record(output: Path) -> None:
    """A record that lacks most fields, as a first version might have left it."""
    (output / "runs").mkdir(parents=True, exist_ok=True)
    some = {key: value for key, value in asdict(record("r0")).items() if key in ("run_id", "family", "task")}
    (output / "runs" / "r0.json").write_text(json.dumps({**some, "a field of the future": 1}))


def write_pdf(path: Path, text: str) -> str:
    """A PDF of one page; returns its doc_id."""
    from reportlab.pdfgen.canvas import Canvas

    file = BytesIO()
    canvas = Canvas(file, pagesize=(300, 200))
    canvas.drawString(30, 150, text)
    canvas.save()
    path.write_bytes(file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()
