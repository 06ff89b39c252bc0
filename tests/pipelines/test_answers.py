"""Spans as transformers chooses them; where gold answers stand; how answers are judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.tasks.answers import anls, best_span, exact, find_words, judge, token_f1

LOGITS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=24)


@settings(deadline=None)  # the first example imports transformers
@example([(0, -1), (0, 2), (1, -3), (2, 8), (5, 5)], 1, 0, 2)
@given(LOGITS, st.integers(1, 9), st.integers(0, 4), st.integers(0, 3))
def test_the_best_span_is_that_of_transformers(logits, most, asked, padding):
    """CLS, ``asked`` question tokens, the page, a separator and padding: what the pipeline sees of a window."""
    from transformers.pipelines.document_question_answering import select_starts_ends

    logits = np.array(logits, np.float32) / 2
    spread = [np.concatenate([one[:1], np.full(asked, 8.0), one[1:], np.full(1 + padding, 9.0)]) for one in logits.T]
    start, end = (one.astype(np.float32)[None] for one in spread)
    mask = [0, *[1] * asked, *[0] * (len(logits) - 1), *[1] * (1 + padding)]
    attention = np.array([[1] * (len(mask) - padding) + [0] * padding])
    starts, ends, scores, null = select_starts_ends(
        start,
        end,
        mask,
        attention,
        handle_impossible_answer=True,
        max_answer_len=most,
    )
    span, none = best_span(logits[:, 0], logits[:, 1], most)
    assert none == pytest.approx(null, rel=1e-5)
    theirs = [(s, e) for s, e in zip(starts.tolist(), ends.tolist(), strict=True) if s > 0]
    if span is None:
        assert not theirs
    else:
        (place,) = theirs
        ours = (span.start + 1 + asked, span.end + 1 + asked)
        if place != ours:  # two that are equally good; which of them is rounding's choice
            assert start[0, place[0]] + end[0, place[1]] == start[0, ours[0]] + end[0, ours[1]]
        assert span.score == pytest.approx(float(scores[0]), rel=1e-5)


def test_words_are_found_in_any_case_and_the_first_match_of_the_first_answer_counts():
    words = ["Total", "12.50", "to", "T.F.", "Riehl", "t.f.", "riehl"]
    assert find_words(words, ["T.F. Riehl"]) == (3, 4)
    assert find_words(words, ["Honeycutt", "12.50"]) == (1, 1)
    assert find_words(words, ["riehl", "total"]) == (4, 4)
    assert find_words(words, ["riehl to", "", "Totals"]) is None


def test_judges():
    assert exact("The Cat!", "cat") == 1
    assert token_f1("the big cat", "big dog") == pytest.approx(0.5)
    assert token_f1("", "") == 1
    assert token_f1("a", "cat") == 0
    assert anls("Invoice 12", "invoice 13") == pytest.approx(0.9)
    assert anls("abcd", "wxyz") == 0
    assert judge(["12", ""], [["twelve", "12"], []], ["exact_match", "f1"]) == {"exact_match": 1.0, "f1": 1.0}
    assert judge(["12"], [[]], ["exact_match"]) == {"exact_match": 0.0}
