"""Word labels to entities: as transformers groups IOB, and the two longer schemes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tasks.entities import Scheme, enclosing

IOB = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]
IOBES = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC"))]


def spans(labels: list[str], known: list[str]) -> list[tuple[str, int, int]]:
    return [(one.label, one.start, one.end) for one in Scheme(known).entities(labels, [0.5] * len(labels))]


@settings(deadline=None)  # the first example imports transformers
@given(st.lists(st.tuples(st.sampled_from(IOB), st.floats(0.25, 1, width=32))))
def test_iob_is_grouped_as_transformers_groups_it(words):
    from transformers import TokenClassificationPipeline

    class Grouper(TokenClassificationPipeline):
        def __init__(self):
            self.tokenizer = self

        def convert_tokens_to_string(self, tokens):
            return " ".join(tokens)

    theirs = [
        (group["entity_group"], group["start"], group["end"], float(group["score"]))
        for group in Grouper().group_entities(
            [
                {"entity": label, "score": np.float32(score), "word": "w", "start": n, "end": n + 1}
                for n, (label, score) in enumerate(words)
            ],
        )
        if group["entity_group"] != "O"
    ]
    ours = Scheme(IOB).entities([label for label, _ in words], [score for _, score in words])
    assert [(one.label, one.start, one.end) for one in ours] == [group[:3] for group in theirs]
    assert [one.score for one in ours] == pytest.approx([group[3] for group in theirs], abs=1e-6)


@given(st.lists(st.tuples(st.sampled_from(["PER", "LOC", "O"]), st.integers(1, 4)), max_size=12))
def test_iobes_says_again_what_was_said(groups):
    labels, wanted = [], []
    for kind, count in groups:
        if kind != "O":
            wanted.append((kind, len(labels), len(labels) + count))
        inside = [f"B-{kind}", *[f"I-{kind}"] * (count - 2), f"E-{kind}"] if count > 1 else [f"S-{kind}"]
        labels += ["O"] * count if kind == "O" else inside
    assert spans(labels, IOBES) == wanted


def test_letters_before_a_dash_are_prefixes_only_of_kinds_that_begin():
    assert spans(["E-MAIL", "E-MAIL", "S-BAHN"], ["O", "E-MAIL", "S-BAHN"]) == [("E-MAIL", 0, 2), ("S-BAHN", 2, 3)]


def test_an_entity_that_begins_inside_is_one():
    assert spans(["I-PER", "I-PER", "O", "I-LOC"], IOB) == [("PER", 0, 2), ("LOC", 3, 4)]


def test_a_box_encloses():
    assert enclosing(np.array([[5, 9, 20, 14], [3, 10, 8, 30]], np.int16)) == [3, 9, 20, 30]
