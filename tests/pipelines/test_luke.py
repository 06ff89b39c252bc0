"""LUKE: entities from table columns, bad spans, named entities over windows, training labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LukeTokenizer

import pipelines
from pipelines import Checkpoint
from pipelines.tasks.entity_span_classification import _windows
from stages.errors import Code, Failure, RowError, UsageError
from stages.predictor import Predictor
from stages.settings import Predict as Settings

TEXT = "Beyoncé lives in Los Angeles."
SPANS = [[0, 7], [17, 28]]


def described(folder, name: str, **options) -> pipelines.Task:
    task = pipelines.task("luke", name)
    return task(Checkpoint(ref=str(folder), path=str(folder), content=""), task.options_type(**options))


def ready(tiny, name: str, **options) -> pipelines.Task:
    task = described(tiny("luke", name), name, **options)
    task.load_processor()
    return task


@pytest.mark.parametrize(
    ("name", "task"), [("features", None), ("entity-pair-classification", "entity_pair_classification")]
)
@pytest.mark.parametrize("spans", [SPANS, SPANS[::-1], [[0, 7], [0, 7]], [[8, 13], [8, 16]]])
@pytest.mark.parametrize("text", [TEXT, "  Beyoncé  lives in\tLos Angeles."])
def test_tokens_are_those_of_the_tokenizer(tiny, name, task, spans, text):
    ours = ready(tiny, name)
    (one,) = ours.encode({"text": text, "entity_spans": spans})
    theirs = LukeTokenizer.from_pretrained(tiny("luke", name), task=task)(text, entity_spans=[tuple(s) for s in spans])
    assert one.arrays["input_ids"].tolist() == theirs["input_ids"]
    assert one.arrays["entity_ids"].tolist() == theirs["entity_ids"]
    inside = [[place for place in row if place >= 0] for row in theirs["entity_position_ids"]]
    ends = zip(one.arrays["entity_starts"].tolist(), one.arrays["entity_ends"].tolist(), strict=True)
    assert [list(range(start, end)) for start, end in ends] == inside


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"entity_spans": [[0, 40]]}, "span 0 to 40 is empty or outside the text of 29 characters"),
        ({"entity_spans": [[5, 5]]}, "span 5 to 5 is empty"),
        ({"entity_spans": [[0, 7]], "text": "Beyonce\u0301 lives"}, "cuts the character at 7 in two"),
        ({"entity_spans": [[0, 1]], "text": "🇩🇪 wins"}, "cuts the character at 1 in two"),
        ({"entity_spans": [[1, 5]], "text": "👍🏽 here"}, "cuts the character at 1 in two"),
        ({"entity_spans": [[0, 1]], "text": "हिन्दी"}, "cuts the character at 1 in two"),
        ({"entity_spans": [[0]]}, "is not \\[first character, the one after the last\\]"),
        ({"entity_spans": []}, "0 entity spans"),
        (
            {"entity_spans": [[0, 7]], "entity_names": ["Nobody"]},
            "'Nobody' is not in the checkpoint's entity vocabulary",
        ),
        ({"entity_spans": [[0, 7]], "entity_names": ["Paris", "River"]}, "1 entity spans but 2 entities"),
        ({"entity_names": ["Paris"]}, "names entities but not their places"),
        ({"text": "a " * 200 + "Paris", "entity_spans": [[400, 405]]}, "characters 400 to 405 lies beyond"),
    ],
)
def test_bad_entities_are_named(tiny, row, message):
    task = ready(tiny, "features")
    with pytest.raises(RowError, match=message) as caught:
        task.encode({"text": TEXT, **row})
    assert caught.value.code is Code.ENCODE_FAILED


def test_a_row_with_bad_entities_fails_alone(tiny):
    task = described(tiny("luke", "features"), "features")
    rows = [
        {"text": TEXT, "entity_spans": [[17, 28]], "entity_names": ["Paris"]},
        {"text": TEXT, "entity_spans": [[17, 99]], "entity_names": ["Paris"]},
        {"text": TEXT, "entity_spans": [[17, 28]], "entity_names": ["Atlantis"]},
    ]
    good, *bad = Predictor(task, Settings(dtype="float32", device="cpu")).open().predict(rows)
    assert len(good["entity_vectors"]) == 1
    assert [one.code for one in bad] == [Code.ENCODE_FAILED] * 2
    assert "outside the text of 29 characters" in bad[0].message
    assert "'Atlantis' is not in the checkpoint's entity vocabulary" in bad[1].message


def test_names_without_places_are_refused_before_anything_starts(tiny):
    with pytest.raises(UsageError, match="entity_spans"):
        described(tiny("luke", "features"), "features").check(["text", "entity_names"])


def test_a_classifier_wants_its_number_of_entities(tiny):
    task = ready(tiny, "entity-classification")
    with pytest.raises(RowError, match="2 entity spans; the task needs 1"):
        task.encode({"text": TEXT, "entity_spans": SPANS})


@pytest.mark.parametrize("longest", [1, 3, 16])
@pytest.mark.parametrize("sizes", [[1] * 9, [1] * 200, [5, 1, 9, 30] * 20, [62], [70, 1, 1]])
def test_every_span_is_asked_once_and_within_its_window(longest, sizes):
    ends = np.cumsum(sizes).tolist()
    tokens = list(zip([0, *ends[:-1]], ends, strict=True))
    room = 62
    begins = []
    for (start, end), own in _windows(tokens, ends[-1], room, longest):
        assert tokens[end - 1][1] - tokens[start][0] <= room or end == own.start + 1
        assert start <= own.start <= own.stop <= end
        for word in own:
            begins.append(word)
            wanted = min(word + longest, len(tokens))
            assert end >= wanted or tokens[wanted - 1][1] - tokens[word][0] > room - sum(sizes[start:word])
    assert begins == list(range(len(tokens)))


def test_long_texts_are_read_in_windows(tiny):
    task = described(tiny("luke", "entity-span-classification"), "entity-span-classification", max_span_words=4)
    predictor = Predictor(task, Settings(dtype="float32", device="cpu")).open()
    words = ["London", "is", "a", "city", "of", "England", "."] * 20
    (answer,) = predictor.predict([{"words": words}])
    assert answer["words"] == words
    assert len(answer["word_labels"]) == len(words)
    taken = [word for one in answer["entities"] for word in range(one["word_start"], one["word_end"])]
    assert len(taken) == len(set(taken)), "no overlaps"
    assert max(taken) > 60, "the last windows answer too"
    empty, bad = predictor.predict([{"text": " "}, {"words": ["a", ""]}])
    assert empty["entities"] == []
    assert isinstance(bad, Failure)


def test_more_spans_than_asked_at_once_are_asked_in_turns(tiny):
    few = ready(tiny, "entity-span-classification", max_spans=10)
    examples = few.encode({"text": "London is a city of England."})
    assert [one.extra for one in examples] == [10, 10, 8]


def test_gold_words_become_labels_of_spans(tiny):
    task = ready(tiny, "entity-span-classification")
    words = ["Los", "Angeles", "and", "Beyoncé"]
    row = {"words": words, "labels": ["B-LOC", "I-LOC", "O", "B-PER"]}
    (one,) = task.encode_labels(row, task.encode(row))
    named = dict(zip(map(tuple, one.arrays["span_words"].tolist()), one.arrays["labels"].tolist(), strict=True))
    assert {span: label for span, label in named.items() if label} == {(0, 2): 2, (3, 4): 1}
    right = {"word_labels": ["B-LOC", "I-LOC", "O", "B-PER"]}
    assert task.metrics([row], [right])["entity_f1"] == 1.0
    with pytest.raises(RowError, match="knows no entity 'B-ORG'"):
        task.encode_labels({**row, "labels": ["B-ORG", "O", "O", "O"]}, [one])


@torch.no_grad()
def test_shorter_positions_change_nothing(tiny):
    """The tokenizer pads positions to 30 a mention; the model hides them."""
    task = ready(tiny, "features")
    task.load_model(torch.device("cpu"), torch.float32)
    batch = dict(task.collate(task.encode({"text": TEXT, "entity_spans": SPANS})))
    short = task.run(batch).entity_last_hidden_state
    more = 30 - batch["entity_position_ids"].shape[-1]
    batch["entity_position_ids"] = torch.nn.functional.pad(batch["entity_position_ids"], (0, more), value=-1)
    assert torch.allclose(task.run(batch).entity_last_hidden_state, short, atol=1e-6)
