"""The coordinate convention: laws of boxes, text out of words, and what is believed of a reader's answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.layoutlmv2.image_processing_pil_layoutlmv2 import normalize_box

from stages.errors import Code, RowError
from stages.words import Words, as_seen, checked, normalised

side = st.integers(1, 20_000)
fraction = st.floats(0, 1)


@given(side, side, st.lists(st.tuples(fraction, fraction, fraction, fraction), max_size=5))
def test_boxes_inside_the_page_are_those_of_transformers(width, height, parts):
    boxes = [[int(a * width), int(b * height), int(c * width), int(d * height)] for a, b, c, d in parts]
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in boxes]
    assert normalised(boxes, width, height).tolist() == [normalize_box(box, width, height) for box in boxes]


@given(st.floats(0.01, 1e9), st.floats(0.01, 1e9), st.lists(st.tuples(*[st.floats(allow_nan=True)] * 4), max_size=5))
def test_any_box_ends_up_on_the_page_and_in_order(width, height, boxes):
    with np.errstate(all="ignore"):
        found = normalised(boxes, width, height)
    assert found.shape == (len(boxes), 4)
    assert found.dtype == np.int16
    assert ((found >= 0) & (found <= 1000)).all()
    assert (found[:, :2] <= found[:, 2:]).all()


@given(side, side, st.tuples(fraction, fraction, fraction, fraction))
def test_a_larger_box_stays_larger(width, height, parts):
    x0, y0, x1, y1 = np.sort(parts[:2])[0] * width, parts[2] * height, np.sort(parts[:2])[1] * width, height
    inner, outer = normalised([[x0, y0, x1, y1], [0, 0, width, height]], width, height)
    assert (outer[:2] <= inner[:2]).all()
    assert (inner[2:] <= outer[2:]).all()
    assert outer.tolist() == [0, 0, 1000, 1000]


page_box = st.tuples(st.floats(-500, 500), st.floats(-500, 500), st.floats(10, 2000), st.floats(10, 2000)).map(
    lambda p: (p[0], p[1], p[0] + p[2], p[1] + p[3])
)
inside = st.tuples(fraction, fraction, fraction, fraction)
off_edges = fraction.filter(lambda part: part in (0, 1) or abs(1000 * part - round(1000 * part)) > 1e-6)
"""On the edge between two steps, as at 0.12, which of them it is depends on how a float was rounded."""


def _inside(page, parts):
    left, bottom, right, top = page
    xs, ys = sorted(parts[:2]), sorted(parts[2:])
    width, height = right - left, top - bottom
    return [left + xs[0] * width, bottom + ys[0] * height, left + xs[1] * width, bottom + ys[1] * height]


@given(page_box, inside)
def test_an_unturned_page_only_flips(page, parts):
    box = _inside(page, parts)
    left, bottom, right, top = page
    flipped = [[box[0] - left, top - box[3], box[2] - left, top - box[1]]]
    assert np.abs(as_seen([box], page, 0) - normalised(flipped, right - left, top - bottom)).max() <= 1


@given(page_box, st.tuples(off_edges, off_edges, off_edges, off_edges), st.sampled_from([0, 90, 180, 270]))
def test_turning_the_page_once_more_turns_the_box_clockwise(page, parts, rotation):
    box = _inside(page, parts)
    x0, y0, x1, y1 = as_seen([box], page, rotation)[0].tolist()
    turned = as_seen([box], page, rotation + 90)[0].tolist()
    # What was at the left is at the top; what was at the top is at the right. Truncation costs one step.
    assert np.abs(np.array(turned) - [1000 - y1, x0, 1000 - y0, x1]).max() <= 1


@given(page_box, inside, st.integers(-8, 8))
def test_four_turns_are_none(page, parts, turns):
    box = _inside(page, parts)
    assert as_seen([box], page, 90 * turns).tolist() == as_seen([box], page, 90 * (turns % 4)).tolist()


def _words(words, lines):
    return Words(words=words, boxes=np.zeros((len(words), 4), np.int16), lines=np.array(lines, np.int32))


@given(st.lists(st.tuples(st.text("abcä", min_size=1, max_size=4), st.integers(0, 3)), max_size=12))
def test_text_is_the_words_in_their_lines(rows):
    rows = sorted(rows, key=lambda row: row[1])
    text = _words([word for word, _ in rows], [line for _, line in rows]).text
    assert text.split() == [word for word, _ in rows]
    assert len(text.splitlines()) == len({line for _, line in rows})


def test_scripts_without_spaces_get_none():
    assert _words(["請", "求", "書", "No.", "7", "です。", "はい"], [0] * 7).text == "請求書 No. 7 です。はい"
    assert _words(["한국", "어"], [0, 0]).text == "한국 어"


def _answer(**change):
    whole = {"words": ["a", "b"], "boxes": np.array([[0, 0, 10, 10], [5, 5, 1000, 1000]], np.int16)}
    return whole | {"lines": np.array([0, 1], np.int32)} | change


def test_a_healthy_answer_is_believed():
    assert checked(**_answer()).text == "a\nb"


@pytest.mark.parametrize(
    "change",
    [
        {"words": None},
        {"words": ["a"]},
        {"words": ["a", 7]},
        {"words": ["a", "x" * 8_000_001]},
        {"boxes": [[0, 0, 1, 1], [0, 0, 1, 1]]},
        {"boxes": np.zeros((2, 4), np.int32)},
        {"boxes": np.array([[0, 0, 10, 10], [0, 0, 1001, 10]], np.int16)},
        {"boxes": np.array([[0, 0, 10, 10], [20, 0, 10, 10]], np.int16)},
        {"boxes": np.array([[-1, 0, 10, 10], [0, 0, 10, 10]], np.int16)},
        {"lines": np.array([1, 0], np.int32)},
        {"lines": np.array([0], np.int32)},
    ],
)
def test_nonsense_is_not(change):
    with pytest.raises(RowError, match="nonsense") as caught:
        checked(**_answer(**change))
    assert caught.value.code == Code.CRASH
