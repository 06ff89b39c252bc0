"""The report's parts without a browser: what is picked, how values are shown, what plots say, that text stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.report import charts
from jobs.report.cells import cell, figure
from jobs.report.document import _json
from jobs.report.output import open_output
from jobs.report.pages import line_boxes, page_views
from jobs.report.survey import survey
from jobs.view import html_view, view
from tests.jobs import outputs

BOXES = st.tuples(*[st.integers(0, 1000)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


# ---- values by Arrow type


@pytest.mark.parametrize(
    ("type_", "value", "kind", "text"),
    [
        (pa.string(), None, "none", ""),
        (pa.bool_(), True, "text", "yes"),
        (pa.int32(), 12345, "number", "12,345"),
        (pa.float32(), 0.000012345, "number", "1.234e-05"),
        (pa.float32(), float("nan"), "number", "nan"),
        (pa.string(), "x" * 5000, "text", "x" * 2000 + "… (3,000 more characters)"),
        (pa.binary(), b"abc", "text", "3 bytes"),
        (pa.list_(pa.float32()), [0.0] * 384, "spark", "384 numbers"),
        (pa.list_(pa.float32()), [], "none", ""),
        (pa.list_(pa.float32()), [1.0, None], "json", "[1.0, null]"),
        (pa.list_(pa.list_(pa.float32())), [[1.0], [2.0]], "json", "[[1.0], [2.0]]"),
        (pa.struct([("a", pa.int32())]), {"a": 1}, "json", '{"a": 1}'),
        (pa.timestamp("us", tz="UTC"), outputs.AT, "text", "2026-03-01 12:30:00"),
    ],
)
def test_a_value_is_shown_by_its_type(type_: pa.DataType, value: object, kind: str, text: str) -> None:
    shown = cell("x", type_, value)
    assert (shown.kind, shown.text) == (kind, text)


def test_labels_entities_and_fills_are_chips() -> None:
    scores = [{"label": f"l{i}", "score": 0.5} for i in range(20)]
    shown = cell("scores", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())])), scores)
    assert (shown.kind, len(shown.chips), shown.text) == ("chips", 12, "and 8 more")
    fill = pa.struct([("token", pa.string()), ("score", pa.float32()), ("text", pa.string())])
    fills = [[{"token": "Paris", "score": 0.7, "text": "Paris is"}, {"token": "x", "score": 0.1, "text": "x is"}], []]
    shown = cell("fills", pa.list_(pa.list_(fill)), fills)
    assert [(chip.text, chip.score) for chip in shown.chips] == [("Paris", 0.7)]


def test_a_score_is_a_probability_only_between_0_and_1() -> None:
    assert cell("score", pa.float32(), 0.25).kind == "score"
    assert cell("score", pa.float32(), 3.5).kind == "number"  # a regression's


@given(st.floats(-1e300, 1e300))
def test_a_figure_is_near_its_number(value: float) -> None:
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=2e-3, abs=1e-12)


# ---- plots


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**7), st.integers(0, 100)), max_size=80))
def test_a_timeline_stays_in_its_field(samples: list[tuple[float, int, int]]) -> None:
    plot = charts.timeline([list(map(float, one)) for one in sorted(samples)])
    if plot is not None:
        points = [tuple(map(float, one.split(","))) for one in plot.line.split()]
        assert all(-0.01 <= x <= 100.01 and -0.01 <= y <= 100.01 for x, y in points)


def test_a_timeline_says_the_rate() -> None:
    plot = charts.timeline([[t, 3 * t, 0.0] for t in np.arange(0.0, 101.0)])
    assert plot is not None
    assert plot.summary == "pages a second over 1 min 40 s; at most 3"
    assert [tick.text for tick in plot.up] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("samples", [[], [[0.0, 1.0]], [[1.0, 1.0, 0.0]] * 5, [[float("nan"), 1.0, 0.0]] * 9])
def test_too_few_samples_give_no_timeline(samples: list[list[float]]) -> None:
    assert charts.timeline(samples) is None


def test_bars_beyond_the_limit_are_one() -> None:
    found = charts.bars({f"n{i}": i + 1.0 for i in range(20)}, limit=3)
    assert [(bar.name, bar.text) for bar in found] == [("n19", "20"), ("n18", "19"), ("n17", "18"), ("17 more", "153")]


# ---- pages


@given(st.lists(BOXES, max_size=30))
def test_lines_cover_their_words(boxes: list[tuple[int, int, int, int]]) -> None:
    lines = line_boxes(boxes)
    for x0, y0, x1, y1 in boxes:
        assert any(a <= x0 and b <= y0 and c >= x1 and d >= y1 for a, b, c, d in lines)


def test_words_of_two_lines_are_two_boxes() -> None:
    words = [(800, 100, 900, 120), (910, 101, 990, 121), (50, 130, 150, 150)]
    assert line_boxes(words) == [(800, 100, 990, 121), (50, 130, 150, 150)]


def test_pages_are_joined_with_answers_and_errors(tmp_path: Path) -> None:
    opened = open_output(str(outputs.token_output(tmp_path)))
    views = page_views(opened, survey(opened).pick(10))
    assert [(v.key.uri, v.key.page, v.status) for v in views] == [
        ("/data/invoice.pdf", 1, "ok"),
        ("/data/invoice.pdf", 2, "ok"),
        ("/data/scan.pdf", 1, "partial"),
        ("/data/broken.pdf", 0, "failed"),
        ("/data/scan.pdf", 2, "failed"),
    ]
    assert [mark.label for mark in views[0].marks] == ["NUMBER", "TOTAL"]
    assert views[0].score == pytest.approx(0.8)
    assert views[0].marks[1].boxes == [(780, 60, 920, 80), (60, 90, 200, 110)]  # on two lines


def test_the_pick_shows_every_label_code_and_low_score(tmp_path: Path) -> None:
    rows, pages = [], []
    for i in range(300):
        read = outputs.page(f"/data/{i:03d}.pdf", 1, ["a", "b"])
        label, score = f"L{i % 7}" if i != 123 else "RARE", 0.9 if i != 200 else 0.01
        pages.append(read)
        rows.append(outputs.token_row(read, [(0, 1, label, score)]))
    outputs.write_pages(tmp_path, pages)
    outputs.write_results(tmp_path, outputs.TOKEN_ANSWERS, rows[:150], part="a")
    outputs.write_results(tmp_path, outputs.TOKEN_ANSWERS, rows[150:], part="b")
    codes = ("corrupt", "empty", "crash")
    outputs.write_errors(tmp_path, [{"uri": f"/data/e{i}.pdf", "code": codes[i % 3]} for i in range(90)])
    found = survey(open_output(str(tmp_path)))
    assert found.labels["RARE"] == 1
    assert sum(found.labels.values()) == 300
    assert found.codes == dict.fromkeys(codes, 30)
    picked = found.pick(30)
    assert len(picked) == len(set(picked)) == 30
    uris = {key.uri for key in picked}
    assert {"/data/123.pdf", "/data/200.pdf", "/data/e0.pdf", "/data/e1.pdf", "/data/e2.pdf"} <= uris
    assert len({int(uri[6:9]) // 50 for uri in uris if not uri.startswith("/data/e")}) == 6  # spread over all rows


@given(limit=st.integers(0, 12))
@settings(max_examples=13, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_pick_keeps_its_limit(tmp_path: Path, limit: int) -> None:
    if not (tmp_path / "runs").exists():
        outputs.token_output(tmp_path)
    assert len(survey(open_output(str(tmp_path))).pick(limit)) == min(limit, 5)


# ---- text stays text


class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


HOSTILE = st.text(st.sampled_from("<>&\"'`=/{}%!-\u2028\u2029\u202e\0\n a") | st.characters(codec="utf-8"), max_size=40)


@given(HOSTILE)
def test_json_in_a_script_element_is_the_same_value(text: str) -> None:
    written = _json({"words": [text]})
    assert json.loads(written) == {"words": [text]}
    assert not re.search("[<>&\u2028\u2029]", written)


@given(name=HOSTILE, word=HOSTILE, label=HOSTILE)
@example(name='"><img src=x onerror=y>', word="</script><script>", label="'><iframe onload=y>")
@example(name="\0", word="\0", label="\0")  # no file can be called so
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_becomes_markup(tmp_path: Path, name: str, word: str, label: str) -> None:
    plain = Tags(Path(view(str(outputs.token_output(tmp_path / "plain", name="/d/n", word="w")))).read_text())
    outputs.token_output(tmp_path / "hostile", name=f"/d/n{name}", word=f"w{word}")
    errors = [{"uri": f"/d/{name}", "code": label, "stage": name, "message": word, "detail": word}]
    outputs.write_errors(tmp_path / "hostile", [*errors, {"uri": "/d/x", "code": "corrupt"}])
    outputs.write_run(tmp_path / "hostile", outputs.record(command=name, checkpoint=word, notice=f"!{label}"))
    hostile = Tags(Path(view(str(tmp_path / "hostile"))).read_text())
    assert [hostile.tags.count(tag) for tag in ("script", "style", "img", "iframe", "link")] == [2, 1, 0, 0, 1]
    assert set(hostile.tags) <= set(plain.tags) | {"p", "circle", "path", "pre", "details", "summary"}
    assert hostile.handlers == plain.handlers == []
    small = Tags(html_view(str(tmp_path / "hostile")))
    assert "script" not in small.tags
    assert small.handlers == []


def test_the_notebook_view_is_small_and_has_the_rows(tmp_path: Path) -> None:
    rows = [{"label": "<b>POS</b>", "score": 0.9}] * 50
    html = html_view(str(outputs.table_output(tmp_path, ("label", "score"), rows)))
    assert len(html) < 20_000
    assert "10 of 50 rows" in html
    assert "&lt;b&gt;POS&lt;/b&gt;" in html
    assert "<b>POS" not in html
