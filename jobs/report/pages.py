"""The chosen pages: what was read, what was answered and what failed, joined from the output's tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.cells import Cell, cells
from jobs.report.output import Output, Part, take
from jobs.report.survey import Key
from stages.columns import RESULT_HEAD, RESULT_TAIL

Box = tuple[int, int, int, int]

_DRAWN = frozenset(
    {"words", "boxes", "word_labels", "word_scores", "entities", "start", "end", "objects", "word_times", "depth_png"},
)
"""Result columns that are shown on the page rather than beside it."""
_MAX_WORDS = 4000
"""Words drawn on one page; a page with more is a table dump whose drawing nobody reads."""
_MAX_RECORDS = 20
"""Answers shown for one page."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something found on the page: an entity, or where an answer stands."""

    label: str
    """The entity's label, or the question."""
    text: str
    score: float | None
    boxes: Sequence[Box]
    """One box a line of text, in 1/1000 of the page."""
    own: tuple[float, float, float, float] | None = None
    """Its place in the answer's own units, pixels or seconds, until the picture tells how large that is."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One error row."""

    code: str
    stage: str
    message: str


@dataclass(kw_only=True)
class PageView:
    """One page as the report shows it."""

    key: Key
    doc_id: str = ""
    source: str = ""
    pages: int = 0
    """Pages of its document; 0 where nobody could count them."""
    width: float = 0.0
    height: float = 0.0
    """Points, or pixels of an image; 0 where not known."""
    reader: str = ""
    text: str = ""
    document_status: str = ""
    words: Sequence[str] = ()
    boxes: Sequence[Box] = ()
    word_labels: Sequence[str | None] = ()
    word_scores: Sequence[float | None] = ()
    marks: list[Mark] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    answers: list[list[Cell]] = field(default_factory=list)
    """What the task answered besides, one list of cells a record."""
    labels: list[str] = field(default_factory=list)
    """Every label that an answer on the page has, without repetition."""
    score: float | None = None
    """The lowest score on the page."""
    depth: bytes = b""
    """The image's depths, as a PNG."""

    @property
    def status(self) -> str:
        """Failed where the page has an error, partial where another page of its document has one, else ok."""
        if self.problems:
            return "failed"
        return "partial" if self.document_status == "partial" else "ok"

    @property
    def turn(self) -> int:
        """Degrees clockwise by which the page was turned to be read (``ocr:tesserocr@90``): its boxes are upright."""
        _, _, turn = self.reader.partition("@")
        return int(turn) if turn in ("90", "180", "270") else 0

    @property
    def aspect(self) -> float:
        """Height over width; that of A4 where the size is not known."""
        ratio = self.height / self.width if self.width > 0 and self.height > 0 else 2**0.5
        return min(max(ratio, 0.1), 10.0)


def page_views(output: Output, keys: Sequence[Key]) -> list[PageView]:
    """The pages of ``keys``, in that order but failed ones last."""
    views = {key: PageView(key=key) for key in keys}
    uris = pa.array(sorted({key.uri for key in keys}), pa.string())
    for row in _rows(output, "pages", uris, views):
        _read(views[row_key(row)], row)
    kinds = output.schema("results")
    for row in _rows(output, "results", uris, views):
        _answered(views[row_key(row)], row, kinds)
    for row in _rows(output, "errors", uris, views):
        _failed(views[row_key(row)], row)
    statuses = _statuses(output, uris)
    for view in views.values():
        view.document_status = statuses.get(view.key.uri, "")
        view.labels = list(dict.fromkeys(view.labels))
    return sorted(views.values(), key=lambda view: view.status == "failed")


def row_key(row: Mapping[str, object]) -> Key:
    """The page that a row belongs to."""
    uri, page = row["uri"], row.get("page")
    return Key(uri if isinstance(uri, str) else "", page if isinstance(page, int) else 0)


def _rows(output: Output, table: str, uris: pa.Array, views: Mapping[Key, PageView]) -> Iterator[dict[str, object]]:
    """The rows of a table that belong to the chosen pages."""
    wanted: dict[str, tuple[Part, list[int]]] = {}
    for block in output.scan(table, ("uri", "page")):
        near = pc.indices_nonzero(pc.is_in(block.rows["uri"], value_set=uris)).to_pylist()
        found = [i for i in near if row_key({name: block.rows[name][i].as_py() for name in ("uri", "page")}) in views]
        if found:
            wanted.setdefault(block.part.path, (block.part, []))[1].extend(block.start + i for i in found)
    for part, rows in wanted.values():
        yield from take(part, rows).to_pylist()


def _statuses(output: Output, uris: pa.Array) -> dict[str, str]:
    found: dict[str, str] = {}
    for block in output.scan("documents", ("uri", "status")):
        rows = block.rows.filter(pc.is_in(block.rows["uri"], value_set=uris))
        found.update(zip(rows["uri"].to_pylist(), rows["status"].to_pylist(), strict=True))
    return found


def _read(view: PageView, row: Mapping[str, object]) -> None:
    """Puts a row of pages/ into the view."""
    view.doc_id, view.source = _text(row.get("doc_id")), _text(row.get("source"))
    view.reader, view.text = _text(row.get("reader")), _text(row.get("text"))
    view.width, view.height = _number(row.get("width")) or 0.0, _number(row.get("height")) or 0.0
    view.pages = int(_number(row.get("pages")) or 0)
    _words(view, row)


def _words(view: PageView, row: Mapping[str, object]) -> None:
    words, boxes = row.get("words"), row.get("boxes")
    if isinstance(words, list) and isinstance(boxes, list) and len(words) == len(boxes):
        view.words, view.boxes = words[:_MAX_WORDS], [_box(box) for box in boxes[:_MAX_WORDS]]


def _answered(view: PageView, row: Mapping[str, object], kinds: pa.Schema) -> None:
    """Puts a row of results/ into the view."""
    view.doc_id, view.pages = _text(row.get("doc_id")), int(_number(row.get("pages")) or 0)
    _words(view, row)
    labels, scores = row.get("word_labels"), row.get("word_scores")
    if isinstance(labels, list) and isinstance(scores, list) and len(labels) == len(scores) == len(view.words):
        view.word_labels, view.word_scores = labels, scores
    placed = list(_answer(view, row))
    marks = [*_entities(view, row), *placed, *_objects(row), *_heard(row)]
    depth = row.get("depth_png")
    view.depth = depth if isinstance(depth, bytes) else b""
    view.marks += marks
    view.labels += (
        [mark.label for mark in marks]
        if {"entities", "objects"} & row.keys()
        else [_text(row.get("label"))] * ("label" in row)
    )
    known = [mark.score for mark in marks if mark.score is not None]
    known += [score for score in [_number(row.get("score"))] if score is not None]
    known += [] if view.score is None else [view.score]
    view.score = min(known, default=None)
    if len(view.answers) < _MAX_RECORDS:
        hidden = {*RESULT_HEAD, *RESULT_TAIL, *_DRAWN, *(("question", "answer", "score") if placed else ())}
        shown = cells(row, [column for column in kinds if column.name not in hidden])
        if shown:
            view.answers.append(shown)


def _failed(view: PageView, row: Mapping[str, object]) -> None:
    code, stage, message = (_text(row.get(name)) for name in ("code", "stage", "message"))
    view.problems.append(Problem(code=code, stage=stage, message=message))


def _entities(view: PageView, row: Mapping[str, object]) -> Iterator[Mark]:
    entities = row.get("entities")
    for one in entities if isinstance(entities, list) else ():
        start, end = int(_number(one["word_start"]) or 0), int(_number(one["word_end"]) or 0)
        boxes = line_boxes(view.boxes[start:end]) or ([_box(one["box"])] if one["box"] else [])
        yield Mark(label=_text(one["label"]), text=_text(one["text"]), score=_number(one["score"]), boxes=boxes)


def _answer(view: PageView, row: Mapping[str, object]) -> Iterator[Mark]:
    """Where an answer stands on the page; none for answers from a text, whose places are characters."""
    answer, start, end = row.get("answer"), row.get("start"), row.get("end")
    if isinstance(answer, str) and answer and isinstance(start, int) and isinstance(end, int) and view.boxes:
        boxes = line_boxes(view.boxes[start : end + 1])
        label = _text(row.get("question")) or "answer"
        yield Mark(label=label, text=answer, score=_number(row.get("score")), boxes=boxes)


def _objects(row: Mapping[str, object]) -> Iterator[Mark]:
    """What was detected in an image."""
    found = row.get("objects")
    for one in found if isinstance(found, list) else ():
        x0, y0, x1, y1 = (float(side) for side in one["box"])
        yield Mark(label=_text(one["label"]), text="", score=_number(one["score"]), boxes=(), own=(x0, y0, x1, y1))


def _heard(row: Mapping[str, object]) -> Iterator[Mark]:
    """Words of a recording, where they were said."""
    found = row.get("word_times")
    for one in found if isinstance(found, list) else ():
        start, end = float(one["start"]), float(one["end"])
        yield Mark(label="", text=_text(one["text"]), score=_number(one["score"]), boxes=(), own=(start, 0, end, 1))


def placed(view: PageView, across: float, down: float) -> None:
    """Turns the marks' own units into 1/1000 of a picture that spans so much of them."""
    scales = (1000 / across, 1000 / down) * 2
    view.marks = [
        mark
        if mark.own is None
        else replace(mark, boxes=[_box([round(a * b) for a, b in zip(mark.own, scales, strict=True)])])
        for mark in view.marks
    ]


def line_boxes(boxes: Iterable[Box]) -> list[Box]:
    """Boxes of words in reading order as one box a line of text."""
    lines: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        if lines:
            a0, b0, a1, b1 = lines[-1]
            shared = min(b1, y1) - max(b0, y0)
            if x1 > a0 and 2 * shared > min(b1 - b0, y1 - y0):
                lines[-1] = (min(a0, x0), min(b0, y0), max(a1, x1), max(b1, y1))
                continue
        lines.append((x0, y0, x1, y1))
    return lines


def _box(value: Sequence[int]) -> Box:
    """Four numbers within the page, whatever was written."""
    x0, y0, x1, y1 = (min(max(int(number or 0), 0), 1000) for number in (*value, 0, 0, 0, 0)[:4])
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None  # noqa: PLR0124
