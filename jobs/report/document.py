"""The report as one HTML string: templates with autoescape, script and style named by hash in the page's own policy."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from jobs.errors import Cause, again, causes
from jobs.record import RunRecord
from jobs.report import charts
from jobs.report.cells import Cell, cells, clip, figure
from jobs.report.images import Picture
from jobs.report.output import Output
from jobs.report.pages import PageView
from jobs.report.survey import Key, Survey
from stages.columns import COLUMNS, RESULT_HEAD, RESULT_TAIL

_FOLDER = Path(__file__).parent
_TONES = 8
"""Colours that labels have of their own; those after share a grey."""
TABLE_ROWS = 500
"""Rows of each table that the report holds."""
_UNSHOWN = frozenset(
    {*RESULT_HEAD, *RESULT_TAIL, "words", "boxes", "word_labels", "word_scores", "read_fingerprint", "width", "height"},
)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table in the report."""

    uri: str
    name: str
    """Last part of the uri."""
    where: str
    """Page or record, for people."""
    cells: Sequence[Cell]
    labels: Sequence[str] = ()
    """Every label that the row has, for the filter."""
    status: str = ""
    score: float | None = None


def report(output: Output, found: Survey, views: Sequence[PageView], pictures: Mapping[Key, Picture]) -> str:
    """The whole page."""
    run, failed = output.run, causes(output)
    tones = _tones(found, views)
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    return (
        _templates()
        .get_template("report.html")
        .render(
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704
            policy=_policy(style, script),
            title=title(output),
            output=output,
            run=run,
            runs=list(reversed(output.runs)),
            found=found,
            noun=f"{unit(output)}s",
            facts=facts(output),
            timeline=charts.timeline(run.samples, f"{unit(output)}s"),
            stages=charts.bars(run.stage_seconds, unit=" s"),
            startup=charts.bars(run.startup_seconds, unit=" s"),
            codes=charts.bars(found.codes),
            labels=charts.bars({name: n for name, n in found.labels.items() if name}),
            readers=charts.bars(found.readers),
            scores=charts.columns(found.scores) if any(found.scores) else [],
            views=views,
            pictures=pictures,
            drawing=Markup(_json([_drawing(view, tones) for view in views])),  # noqa: S704 - escaped by _json
            tones=tones,
            rows=rows(output, "results", unit(output)),
            documents=rows(output, "documents", "page"),
            causes=failed,
            again=_again(run, failed),
            limit=TABLE_ROWS,
            meaning={name: column.meaning for name, column in COLUMNS.items()},
        )
    )


def fragment(output: Output, *, limit: int = 10) -> str:
    """A small piece of HTML for notebooks: no script, its style its own."""
    table = "results" if "results" in output.parts else "pages"
    return (
        _templates()
        .get_template("fragment.html")
        .render(
            title=title(output),
            run=output.run,
            facts=facts(output),
            noun=f"{unit(output)}s",
            rows=rows(output, table, unit(output), limit=limit),
            total=output.count(table),
        )
    )


def title(output: Output) -> str:
    """The family and task, or what the output is called."""
    return name_of_run(output.run) or output.uri


def name_of_run(run: RunRecord) -> str:
    """Family and task; ``text`` alone for a run that only reads."""
    return " · ".join(dict.fromkeys(filter(None, (run.family, run.task))))


def unit(output: Output) -> str:
    """What a run goes over: pages of documents, or rows of tables."""
    return "page" if "pages" in output.parts or "results" not in output.parts else "row"


def facts(output: Output) -> list[tuple[str, str]]:
    """What there is to know of the newest run, as (name, value); what is not known is left out."""
    run = output.run
    cost = "" if run.cost_per_1000_pages is None else figure(run.cost_per_1000_pages)
    pairs = [
        ("Output", output.uri),
        ("Checkpoint", run.checkpoint),
        ("Fingerprint", run.fingerprint),
        ("Read fingerprint", run.read_fingerprint),
        ("Started", _when(run.started)),
        ("Finished", _when(run.finished)),
        ("Wall clock", charts.duration(run.seconds) if run.seconds else ""),
        ("Sandbox", run.sandbox),
        (f"Cost per 1,000 {unit(output)}s", cost),
        ("MLflow run", run.mlflow_run_id if run.mlflow_run_id != run.run_id else ""),
        ("Run, also in MLflow" if run.mlflow_run_id == run.run_id else "Run", run.run_id),
        ("Exit code", str(run.exit_code) if run.run_id else ""),
    ]
    return [(name, value) for name, value in pairs if value]


def rows(output: Output, table: str, word: str, *, limit: int = TABLE_ROWS) -> list[TableRow]:
    """The first rows of a table, their values by Arrow type; a row is found by its page or row number (``word``)."""
    head = output.head(table, limit, without=("words", "boxes", "word_labels", "word_scores", "vectors"))
    hidden = _UNSHOWN - {"pages"} if table == "documents" else _UNSHOWN
    shown = [column for column in head.schema if column.name not in hidden]
    return [_row(row, shown, word) for row in head.to_pylist()]


def _row(row: Mapping[str, object], shown: Sequence[pa.Field], word: str) -> TableRow:
    uri, score, where = row.get("uri"), row.get("score"), row.get("page" if word == "page" else "record")
    at = where if isinstance(where, int) else None
    values = cells(row, shown)
    labels = [chip.label for cell in values for chip in cell.chips if cell.name == "entities"]
    labels += [cell.label for cell in values if cell.name == "label"]
    known = [chip.score for cell in values for chip in cell.chips if cell.name == "entities" and chip.score is not None]
    known += [float(score)] if isinstance(score, int | float) else []
    uri = uri if isinstance(uri, str) else ""
    return TableRow(
        uri=uri,
        name=name_of(uri),
        where="" if at is None else f"{word} {at:,}",
        cells=values,
        labels=list(dict.fromkeys(filter(None, labels))),
        status=str(row.get("status") or ""),
        score=min(known, default=None),
    )


def name_of(uri: str) -> str:
    """What a person calls the file."""
    return uri.rstrip("/").rsplit("/", 1)[-1] or uri


def _again(run: RunRecord, found: Sequence[Cause]) -> str:
    return again(run.command, [cause.code for cause in found]) if found and run.command else ""


def _tones(found: Survey, views: Sequence[PageView]) -> dict[str, int]:
    """A colour for each label, the most frequent ones first; 0 is grey."""
    names = [name for name, _ in found.labels.most_common() if name]
    names += sorted({mark.label for view in views for mark in view.marks} - set(names))
    return {name: i + 1 if i < _TONES else 0 for i, name in enumerate(names)}


def _drawing(view: PageView, tones: Mapping[str, int]) -> dict[str, object]:
    """What the script draws over one page."""
    names = sorted({label for label in view.word_labels if label})
    at = {name: i for i, name in enumerate(names)}
    return {
        "words": list(view.words),
        "boxes": [number for box in view.boxes for number in box],
        "names": names,
        "labels": [at[label] if label else -1 for label in view.word_labels],
        "scores": [None if score is None else round(score, 4) for score in view.word_scores],
        "marks": [
            {
                "tone": tones.get(mark.label, 0),
                "label": clip(mark.label, 200),
                "text": clip(mark.text, 500),
                "score": mark.score,
                "boxes": [list(box) for box in mark.boxes],
            }
            for mark in view.marks
        ],
    }


def _json(value: object) -> str:
    """JSON that can stand in a script element whatever the text holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _policy(style: str, script: str) -> str:
    """Nothing is fetched, nothing runs but our own script, and no text can become HTML."""
    return (
        "default-src 'none'; img-src data:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        figure=figure, duration=charts.duration, name_of=name_of, name_of_run=name_of_run, when=_when, clip=clip
    )
    return found


def _when(moment: str) -> str:
    """2026-03-01T12:30:00.123+00:00 → 2026-03-01 12:30:00 UTC."""
    utc = moment.endswith(("Z", "+00:00"))
    return moment[:19].replace("T", " ") + (" UTC" if utc else "")
