"""Laws of windows: each sub-word is answered for once, with most context; they are the tokenizer's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tasks.tiny import WORDS, write_tokenizer
from pipelines.tasks.windows import cut, owned, windows
from pipelines.tasks.words import SubWordTokenizer, read_boxes, read_words
from stages.errors import Code, RowError

SIZES = st.tuples(st.integers(0, 400), st.integers(1, 80)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, pair[1] - 1)),
)
ODD = ["unfurling", "12.50", "", " ", "東", "\u200b", "[SEP]"]
PAGES = st.lists(st.sampled_from([*WORDS[:40], *ODD]), min_size=1, max_size=120)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    from transformers import AutoTokenizer

    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, max_length=64)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory):
    """A byte-level tokenizer that puts two separators between a pair, as LayoutLM checkpoints for questions have."""
    from transformers import RobertaTokenizer

    letters = [*map(chr, range(33, 127)), "Ġ", *map(chr, range(0xA1, 0x180))]
    vocabulary = {piece: n for n, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    return RobertaTokenizer(vocabulary, [], add_prefix_space=True, model_max_length=64)


@given(SIZES)
def test_every_sub_word_is_answered_for_once_where_it_has_most_context(sizes):
    total, room, stride = sizes
    spans = cut(total, room, stride)
    own = owned(spans)
    assert [place for start, end in own for place in range(start, end)] == list(range(total))
    assert all(end - start <= room for start, end in spans)
    assert all(start <= first and last <= end for (start, end), (first, last) in zip(spans, own, strict=True))
    for (first, last), mine in zip(own, spans, strict=True):
        for place in {first, (first + last) // 2, last - 1} if last > first else ():
            most = max(_context(place, span, total) for span in spans if span[0] <= place < span[1])
            assert _context(place, mine, total) == most


def _context(place: int, span: tuple[int, int], total: int) -> float:
    left = place - span[0] if span[0] else float("inf")
    right = span[1] - 1 - place if span[1] < total else float("inf")
    return min(left, right)


@given(SIZES)
def test_what_fits_is_one_window(sizes):
    total, room, stride = sizes
    assert (len(cut(total, room, stride)) == 1) == (total <= room)


def test_a_stride_that_leaves_no_step_is_refused():
    with pytest.raises(ValueError, match="below the room of 4, not 4"):
        cut(9, 4, 4)


@pytest.mark.parametrize("kind", ["tokenizer", "roberta"])
@settings(max_examples=40, deadline=None)
@given(words=PAGES, question=st.lists(st.sampled_from([*WORDS, "[SEP]"]), max_size=6), stride=st.integers(0, 40))
def test_windows_are_those_of_the_tokenizers_own_truncation(request, kind, words, question, stride):
    tokenizer = request.getfixturevalue(kind)
    sub_words = SubWordTokenizer(tokenizer)
    boxes = np.array([[n % 900, n % 800, n % 900 + 9, n % 800 + 7] for n in range(len(words))], np.int16).reshape(-1, 4)
    page, asked = sub_words.words(words), sub_words.question(question).ids
    ours = windows(
        page,
        sub_words.pair,
        max_length=64,
        stride=stride if len(asked) + sub_words.pair.size + stride < 64 else 0,
        question=asked,
        boxes=boxes,
        sep_id=tokenizer.sep_token_id,
    )
    theirs = tokenizer(
        question,
        words,
        is_split_into_words=True,
        truncation="only_second",
        max_length=64,
        stride=stride if len(asked) + sub_words.pair.size + stride < 64 else 0,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
    )
    assert [one.ids.tolist() for one in ours] == theirs["input_ids"]
    assert [one.types.tolist() for one in ours] == theirs["token_type_ids"]
    for place, one in enumerate(ours):
        where = zip(one.ids.tolist(), theirs.sequence_ids(place), theirs.word_ids(place), strict=True)
        assert one.boxes is not None
        assert one.boxes.tolist() == [
            boxes[word].tolist() if sequence == 1 else [1000 if token == tokenizer.sep_token_id else 0] * 4
            for token, sequence, word in where
        ]
        held = [
            word for word, sequence in zip(theirs.word_ids(place), theirs.sequence_ids(place), strict=True) if sequence
        ]
        assert page.word[one.start : one.end].tolist() == held
        assert one.ids[one.first : one.first + one.end - one.start].tolist() == page.ids[one.start : one.end].tolist()


def test_a_question_that_leaves_no_room_is_an_error_of_its_row(tokenizer):
    sub_words = SubWordTokenizer(tokenizer)
    with pytest.raises(RowError, match="leave 1 of 64 for the page") as caught:
        windows(sub_words.words(["a"]), sub_words.pair, max_length=64, stride=5, question=np.zeros(60, np.int32))
    assert caught.value.code == Code.ENCODE_FAILED


def test_words_of_a_text_are_those_that_the_tokenizer_sees(tokenizer):
    text = "  Total: $12 unfurling\u200b \x00 x"
    page = SubWordTokenizer(tokenizer).text(text)
    words = [text[page.chars[a, 0] : page.chars[b - 1, 1]] for a, b in zip(page.firsts(), page.ends(), strict=True)]
    assert words == ["Total", ":", "$", "12", "unfurling", "x"]
    assert sorted(set(page.word.tolist())) == list(range(6))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "the row has no words"),
        ({"words": ["a", None]}, "word 1 is not text but None"),
        ({"words": ["a"]}, "1 words but no boxes"),
        ({"words": ["a"], "boxes": []}, "1 words but 0 boxes"),
        ({"words": ["a"], "boxes": [[0, 0, 5]]}, r"box of word 0 is \[0, 0, 5\]"),
        ({"words": ["a"], "boxes": [[5, 0, 4, 9]]}, "x0 <= x1"),
        ({"words": ["a"], "boxes": [[0, 0, 4, 1001]]}, "0 to 1000"),
        ({"words": ["a"], "boxes": [[0, 0, 4, 1.5]]}, "whole numbers"),
        ({"words": ["a"], "boxes": [None]}, "box of word 0 is None"),
    ],
)
def test_words_and_boxes_that_cannot_be_are_named(row, message):
    with pytest.raises(RowError, match=message) as caught:
        read_boxes(row, len(read_words(row)))
    assert caught.value.code == Code.ENCODE_FAILED
