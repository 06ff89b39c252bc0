"""What is particular to tasks in windows: questions, options, training targets, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines
from pipelines import Checkpoint, Task
from pipelines.contract.rows import sample_rows
from pipelines.tasks.padding import IGNORED
from pipelines.tasks.tiny import WORDS
from stages.errors import Code, Failure, RowError, UsageError
from stages.predict import Predictor
from stages.settings import Predict

FLOAT32 = Predict(dtype="float32", device="cpu")
PAGE = {
    "words": ["Invoice", "Acme", "Ltd", "Total", "12.50", "acme", "ltd"],
    "boxes": [[n * 100, 10, n * 100 + 90, 30] for n in range(7)],
    "page": 1,
}


def load(tiny, name: str, family: str = "layoutlm", **options) -> Task:
    kind = pipelines.task(family, name)
    folder = tiny(family, name)
    task = kind(Checkpoint(ref="tiny", path=str(folder), content="0"), kind.options_type(**options))
    task.load_processor()
    return task


def answers(task: Task, rows):
    return Predictor(task, FLOAT32).open().predict(rows)


# ---- questions


def test_questions_of_the_options_are_asked_of_every_page(tiny):
    task = load(tiny, "document-question-answering", questions=("What is the total?", "Who?"))
    rows = [PAGE, {**PAGE, "record": 3}]
    assert [row["record"] for page in rows for row in task.records(page)] == [0, 1, 6, 7]
    assert task.records_per_row() == 2
    found = answers(task, rows)
    assert [one["question"] for one in found] == ["What is the total?", "Who?"] * 2
    asked = load(tiny, "document-question-answering")
    alone = answers(asked, [{**PAGE, "question": "Who?"}])[0]
    assert found[1] == {**alone, "score": pytest.approx(alone["score"], abs=1e-5)}


@pytest.mark.parametrize("impossible", [False, True])
@pytest.mark.parametrize("most", [1, 4])
def test_the_options_of_transformers_pipeline(tiny, impossible, most):
    from transformers import pipeline

    task = load(tiny, "document-question-answering", handle_impossible_answer=impossible, max_answer_len=most)
    ask = pipeline("document-question-answering", model=task.checkpoint.path)
    rows = sample_rows(type(task), seed=5)
    for row, ours in zip(rows, answers(task, rows), strict=True):
        theirs = ask(
            {
                "image": None,
                "question": row["question"],
                "word_boxes": list(zip(row["words"], row["boxes"], strict=True)),
            },
            handle_impossible_answer=impossible,
            max_answer_len=most,
        )[0]
        assert {name: ours[name] for name in ("answer", "start", "end")} == {
            k: theirs[k] for k in ("answer", "start", "end")
        }
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_windows_can_be_set(tiny):
    from transformers import pipeline

    task = load(tiny, "document-question-answering", max_length=40, stride=7)
    ask = pipeline("document-question-answering", model=task.checkpoint.path)
    row = sample_rows(type(task), seed=6)[-1]
    word_boxes = list(zip(row["words"], row["boxes"], strict=True))
    theirs = ask({"image": None, "question": row["question"], "word_boxes": word_boxes}, max_seq_len=40, doc_stride=7)[
        0
    ]
    ours = answers(task, [row])[0]
    assert (ours["answer"], ours["start"], ours["end"]) == (theirs["answer"], theirs["start"], theirs["end"])


def test_a_byte_level_checkpoint_for_questions(tmp_path):
    """impira/layoutlm-document-qa pairs a LayoutLM with RoBERTa's tokenizer: other special tokens, one token type."""
    from transformers import LayoutLMConfig, RobertaTokenizer, pipeline

    from pipelines.tasks.tiny import write_model

    letters = [*map(chr, range(33, 127)), "Ġ", *map(chr, range(0xA1, 0x180))]
    vocabulary = {piece: n for n, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    RobertaTokenizer(vocabulary, [], add_prefix_space=True, model_max_length=64).save_pretrained(tmp_path)
    config = LayoutLMConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        pad_token_id=1,
        initializer_range=0.3,
    )
    write_model(tmp_path, "LayoutLMForQuestionAnswering", config)
    kind = pipelines.task("layoutlm", "document-question-answering")
    task = kind(Checkpoint(ref="tiny", path=str(tmp_path), content="0"))
    ask = pipeline("document-question-answering", model=str(tmp_path))
    rows = [{**row, "question": "Total?"} for row in sample_rows(kind, seed=7)]
    for row, ours in zip(rows, answers(task, rows), strict=True):
        word_boxes = list(zip(row["words"], row["boxes"], strict=True))
        theirs = ask({"image": None, "question": row["question"], "word_boxes": word_boxes})[0]
        assert (ours["answer"], ours["start"], ours["end"]) == (theirs["answer"], theirs["start"], theirs["end"])
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_a_page_without_words_answers_nothing(tiny):
    empty = {"words": [], "boxes": [], "page": 1, "question": "Who?"}
    nothing = {"question": "Who?", "answer": "", "score": 0.0, "start": None, "end": None}
    assert answers(load(tiny, "document-question-answering"), [empty]) == [nothing]
    labelled = answers(load(tiny, "token-classification"), [empty])[0]
    assert (labelled["words"], labelled["word_labels"], labelled["entities"]) == ([], [], [])


def test_what_a_question_needs_is_asked_before_anything_starts(tiny):
    task = load(tiny, "document-question-answering")
    with pytest.raises(UsageError, match="no question: give the table a column question, or ask all with --set task"):
        task.check(["words", "boxes"])
    task.check(["words", "boxes", "question"])
    load(tiny, "document-question-answering", questions=("Who?",)).check(["words", "boxes"])
    with pytest.raises(UsageError, match="needs a column words or text"):
        load(tiny, "token-classification", "bert").check(["uri"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAGE, "question": "  "}, "the question is empty"),
        ({**PAGE}, "'question' holds no value"),
        ({**PAGE, "question": "very " * 60}, "ask less"),
        ({**PAGE, "question": "Who?", "boxes": PAGE["boxes"][1:]}, "7 words but 6 boxes"),
    ],
)
def test_a_row_that_cannot_be_asked_fails_alone(tiny, row, message):
    good = {**PAGE, "question": "Who?"}
    first, failure, last = answers(load(tiny, "document-question-answering"), [good, row, good])
    assert first == last
    assert isinstance(failure, Failure)
    assert failure.code == Code.ENCODE_FAILED
    assert message in failure.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"questions": ("",)}, "empty question"),
        ({"max_answer_len": 0}, "max_answer_len must be 1 or more"),
        ({"stride": -1}, "stride must be 0 or more"),
        ({"stride": 61}, "take below 61"),
        ({"max_length": 65}, "more than the 64 tokens of the model"),
    ],
)
def test_options_out_of_bounds_are_named(tiny, options, message):
    with pytest.raises(UsageError, match=message):
        load(tiny, "document-question-answering", **options)


# ---- training targets


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([*WORDS[:30], "12.50"]), min_size=1, max_size=90), st.integers(0, 89), st.integers(1, 3)
)
def test_targets_are_where_the_answer_is_first(tiny, words, start, count):
    """Read back through the tokenizer, the target says the answer, in every window that holds it whole."""
    task = load(tiny, "document-question-answering")
    start = min(start, len(words) - 1)
    wanted = words[start : start + count]
    row = {
        "words": words,
        "boxes": [[0, 0, 9, 9]] * len(words),
        "question": "Who?",
        "answers": ["?!", " ".join(wanted)],
    }
    found = [words[n : n + len(wanted)] for n in range(len(words))].index(wanted)
    page = task.sub_words.words(words)
    answer = np.flatnonzero((page.word >= found) & (page.word < found + len(wanted)))
    examples = task.encode_labels(row, task.encode(row))
    for one in examples:
        first, last = one.arrays["labels"].tolist()
        _, begin, end = one.arrays["part"].tolist()
        if begin <= answer[0] and answer[-1] < end:
            assert task.tokenizer.decode(one.arrays["input_ids"][first : last + 1]) == task.tokenizer.decode(
                page.ids[answer]
            )
        else:
            assert (first, last) == (0, 0)
    assert any(one.arrays["labels"].any() for one in examples)


def test_targets_in_a_text(tiny):
    task = load(tiny, "question-answering", "bert")
    text = "Paris, the capital; the river."
    row = {"text": text, "question": "Where?", "answers": ["the"]}

    def target(**more) -> str:
        one = task.encode_labels({**row, **more}, task.encode({**row, **more}))[0]
        first, last = one.arrays["labels"].tolist()
        return task.tokenizer.decode(one.arrays["input_ids"][first : last + 1]) if first else "[CLS]"

    assert target() == "the"
    assert target(answers=["the river"], answer_starts=[20]) == "the river"
    assert target(answers=["London", "capital"]) == "capital"
    assert target(answers=["London"]) == "[CLS]"
    assert target(answers=[]) == "[CLS]"
    with pytest.raises(RowError, match="the text at character 3 is not the answer 'the'"):
        target(answer_starts=[3])
    with pytest.raises(RowError, match="answers must be a list"):
        target(answers="the")


def test_word_labels_stand_at_first_sub_words_once_a_page(tiny):
    task = load(tiny, "token-classification")
    words = ["unfurling", "total"] * 40
    labels = ["B-TOTAL", "O"] * 40
    row = {"words": words, "boxes": [[0, 0, 1, 1]] * 80, "labels": labels}
    examples = task.encode_labels(row, task.encode(row))
    assert len(examples) > 2
    seen = [
        (word, task.labels[one.arrays["labels"][at]], task.tokenizer.decode([one.arrays["input_ids"][at]]))
        for one in examples
        for at, word in zip(one.arrays["at"], one.arrays["word"].tolist(), strict=True)
    ]
    assert [word for word, *_ in seen] == list(range(80))
    assert [label for _, label, _ in seen] == labels
    assert {piece for *_, piece in seen} == {"u", "total"}
    assert sum(int((one.arrays["labels"] != IGNORED).sum()) for one in examples) == 80


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["O"] * 6, "7 words but 6 labels"),
        (None, "7 words but no labels"),
        (["O"] * 6 + ["B-DATE"], "knows no label 'B-DATE'; it has: O, B-COMPANY"),
    ],
)
def test_labels_that_do_not_fit_are_named(tiny, labels, message):
    task = load(tiny, "token-classification")
    row = {**PAGE, "labels": labels}
    with pytest.raises(RowError, match=message):
        task.encode_labels(row, task.encode(row))


def test_metrics(tiny):
    task = load(tiny, "token-classification")
    gold = [{"labels": ["B-TOTAL", "I-TOTAL", "O", "B-COMPANY"]}]
    scores = task.metrics(gold, [{"word_labels": ["B-TOTAL", "I-TOTAL", "B-COMPANY", "B-COMPANY"]}])
    assert scores["entity_recall"] == 1
    assert scores["entity_precision"] == pytest.approx(2 / 3)
    assert scores["entity_f1"] == pytest.approx(0.8)
    asked = load(tiny, "document-question-answering")
    right, wrong = {"answers": ["Acme Ltd", "acme"]}, {"answers": ["12.50"]}
    scores = asked.metrics([right, wrong], [{"answer": "ACME"}, {"answer": "paris"}])
    assert scores == {"exact_match": 0.5, "f1": 0.5, "anls": 0.5}


# ---- words, pages, windows


@pytest.mark.parametrize("strategy", ["first", "average", "max"])
def test_aggregation_strategies_are_those_of_transformers(tiny, strategy):
    from transformers import pipeline

    task = load(tiny, "token-classification", "bert", aggregation_strategy=strategy)
    texts = ["Unfurling banking, 12.50 in Londoner streets", "Zürich's invoices totalled 99 payments today", "paris"]
    ner = pipeline("token-classification", model=task.checkpoint.path, aggregation_strategy=strategy)
    for text, ours in zip(texts, answers(task, [{"text": text} for text in texts]), strict=True):
        theirs = [(text[one["start"] : one["end"]], one["entity_group"]) for one in ner(text)]
        assert [(one["text"], one["label"]) for one in ours["entities"]] == theirs
        assert [one["score"] for one in ours["entities"]] == pytest.approx(
            [float(one["score"]) for one in ner(text)], abs=1e-4
        )


def test_a_word_without_characters_is_outside(tiny):
    task = load(tiny, "token-classification")
    page = {"words": ["total", "\u200b", "paris"], "boxes": [[0, 0, 1, 1]] * 3}
    answer = answers(task, [page])[0]
    assert (answer["word_labels"][1], answer["word_scores"][1]) == ("O", 0.0)
    without = answers(task, [{"words": ["total", "paris"], "boxes": [[0, 0, 1, 1]] * 2}])[0]
    assert answer["word_scores"][::2] == pytest.approx(without["word_scores"], abs=1e-5)


def test_a_page_of_a_family_without_boxes_keeps_its_boxes(tiny):
    page = {"words": WORDS[:40], "boxes": [[n * 10, 10, n * 10 + 9, 30] for n in range(40)]}
    entities = answers(load(tiny, "token-classification", "bert"), [page])[0]["entities"]
    assert entities
    for one in entities:
        assert one["box"] == [one["word_start"] * 10, 10, one["word_end"] * 10 - 1, 30]


def test_a_long_page_is_classified_whole_or_from_its_first_window(tiny):
    task, first = (load(tiny, "document-classification", first_window=only) for only in (False, True))
    row = sample_rows(type(task), seed=8)[-1]
    assert len(task.encode(row)) > 1
    assert len(first.encode(row)) == 1
    short = {name: row[name][:20] for name in ("words", "boxes")}
    assert answers(task, [short]) == answers(first, [short])
    assert answers(task, [row]) != answers(first, [row])


def test_every_token_of_a_long_page_has_a_vector(tiny):
    task = load(tiny, "features", vectors=True, normalize=True)
    row = sample_rows(type(task), seed=9)[-1]
    answer = answers(task, [row])[0]
    assert len(task.encode(row)) > 1
    assert len(answer["vectors"]) == len(task.sub_words.words(row["words"]).ids) + 2
    assert np.linalg.norm(answer["vector"]) == pytest.approx(1, abs=1e-5)


def test_masks_of_a_long_page_are_all_filled_in_order(tiny):
    task = load(tiny, "masked-lm", top_k=1)
    words = ["[MASK]" if n % 7 == 3 else WORDS[n] for n in range(150)]
    row = {"words": words, "boxes": [[n, n, n + 5, n + 5] for n in range(150)]}
    assert len(answers(task, [row])[0]["fills"]) == words.count("[MASK]")
    failure = answers(task, [{"words": ["total"], "boxes": [[0, 0, 1, 1]]}])[0]
    assert isinstance(failure, Failure)
    assert "the page holds no mask; write [MASK] as a word" in failure.message
