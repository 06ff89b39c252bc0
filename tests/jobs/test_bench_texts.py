"""The benches of the text families: each runs on a little data, and what their figures rest on is right."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs import bench as benches
from jobs.bench.common import texts
from jobs.bench.common.captions import read_pairs
from jobs.bench.common.frames import write_realm, write_retribert
from jobs.bench.common.guessing import guess
from jobs.bench.common.minilm import package_folder
from jobs.bench.common.passages import read_squad, short_texts
from jobs.bench.ner import most_frequent
from jobs.bench.realm import BLOCK_WORDS, blocks_of
from jobs.bench.text import alike
from stages.errors import UsageError

COLOURS = ("red", "blue", "green", "white")
THINGS = {"dog": "Hund", "cat": "Katze", "man": "Mann", "child": "Kind", "bird": "Vogel"}
GERMAN = {"red": "rot", "blue": "blau", "green": "grün", "white": "weiß"}
CONLL = "Anna\tB-person\nsees\tO\nParis\tB-location\n.\tO\n\nThe\tO\nriver\tO\nThames\tB-location\nis\tO\nlong\tO\n\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the benches take it: captions, sentences with entities, and questions about paragraphs."""
    folder = tmp_path_factory.mktemp("data")
    pairs = [
        {"en": f"A {colour} {thing} is near number {n}.", "de": f"Ein {GERMAN[colour]} {wort} ist bei Nummer {n}."}
        for n in range(20)
        for colour in COLOURS
        for thing, wort in THINGS.items()
    ]
    for name, some in (("train", pairs[:60]), ("val", pairs[60:64]), ("more", pairs)):
        lines = "".join(json.dumps(pair) + "\n" for pair in some)
        (folder / f"{name}.en-de.jsonl").write_text(lines, "utf-8")
    for name in ("wnut17train", "emerging.dev"):
        (folder / f"{name}.conll").write_text(CONLL * 12, "utf-8")
    paragraphs = []
    for n, (thing, colour) in enumerate((thing, colour) for thing in THINGS for colour in COLOURS):
        text = f"In {1900 + n} the {colour} {thing} came to Town{n}. It stayed there for a long while."
        asked = {
            f"When did the {colour} {thing} come?": str(1900 + n),
            f"Where did the {colour} {thing} go?": f"Town{n}",
        }
        qas = [
            {"id": q, "question": q, "answers": [{"text": a, "answer_start": text.index(a)}]} for q, a in asked.items()
        ]
        paragraphs.append({"context": text, "qas": qas})
    (folder / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), "utf-8")
    return folder


def quick(name: str, data: Path | None, monkeypatch: pytest.MonkeyPatch) -> dict:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert benches.bench(name, as_json=True, write=None, data=data, quick=True) == 0
    return json.loads(out.getvalue())


def cells(report: dict, table: int) -> dict:
    """A table's rows by their first cell."""
    return {row[0]: row[1:] for row in report["tables"][table]["rows"]}


# ---- the benches


def test_both_sides_answer_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    report = quick("text", None, monkeypatch)
    rows = report["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["BERT-base, features", "T5-small, translation", "LUKE-base, named entities"]
    assert [row[-1] for row in rows] == ["8 of 8"] * 3
    assert all(row[1] > 0 < row[2] for row in rows)


def test_a_translation_is_learnt_and_judged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = quick("translation", data, monkeypatch)
    scores = cells(report, 0)
    assert list(scores) == ["copying the source", "the trained model, greedy"]
    assert all(0 <= score <= 100 for (score,) in scores.values())
    (source, right, _), *_ = report["tables"][1]["rows"]
    assert (source, right) == read_pairs(data)[1][0]
    (point,) = report["tables"][2]["rows"]
    assert point[0] > 0


def test_entities_are_learnt_and_judged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = quick("ner", data, monkeypatch)
    scores = cells(report, 0)
    assert scores["no entities at all"][0] == 0
    assert scores["each word's most frequent label"] == [1, 1, 1]
    assert 0 <= scores["MiniLM, fine-tuned by manta train"][0] <= 1


@pytest.fixture
def one_thread() -> Iterator[None]:
    """FAISS on one thread: with more, each of its many short loops waits for whatever else the machine does."""
    import faiss

    own = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(own)


@pytest.mark.usefixtures("one_thread")
def test_questions_find_their_texts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = quick("retrieval", data, monkeypatch)
    ((_, first, fifth, exact),) = report["tables"][0]["rows"]
    assert 0.5 < first <= fifth <= 1, "MiniLM knows red dogs from green birds"
    assert exact == "40 of 40"
    recalls = [row[1] for row in report["tables"][1]["rows"]]
    assert recalls[0] == 1
    assert recalls[1] > 0.9


def test_reading_is_learnt_from_blocks_that_are_embedded_anew(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = quick("realm", data, monkeypatch)
    scores = cells(report, 0)
    assert scores["guessing from the best block"][0] > 0.5, "its blocks were embedded, and the right one is found"
    assert 0 <= scores["the trained reader"][0] <= 1


# ---- what they rest on


def test_minilm_in_retriberts_frame_gives_its_own_vectors(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertModel

    from pipelines.realm import RealmForOpenQA
    from pipelines.retribert import RetriBertModel

    write_retribert(tmp_path / "retribert")
    write_realm(tmp_path / "realm", ["a", "b", "c"])
    said = ["The invoice must be paid.", "A kitten sleeps on the sofa while it rains outside.", "Payment is due."]
    inputs = AutoTokenizer.from_pretrained(package_folder())(said, padding=True, return_tensors="pt")
    ours = RetriBertModel.from_pretrained(tmp_path / "retribert").eval()
    realm = RealmForOpenQA.from_pretrained(tmp_path / "realm").eval()
    with torch.no_grad():
        hidden = BertModel.from_pretrained(package_folder()).eval()(**inputs).last_hidden_state
        there = inputs["attention_mask"][..., None]
        theirs = (hidden * there).sum(1) / there.sum(1)
        theirs = torch.nn.functional.normalize(theirs - theirs.mean(1, keepdim=True), dim=-1)
        for embed in (ours.embed_questions, ours.embed_answers):
            torch.testing.assert_close(embed(inputs["input_ids"], inputs["attention_mask"]), theirs, atol=2e-3, rtol=0)
        projected = realm.embedder(**inputs).projected_score
    torch.testing.assert_close(projected @ projected.T, 20 * theirs @ theirs.T, atol=0.1, rtol=0)


def test_answers_are_compared_whole() -> None:
    row = {"vector": [0.1, 0.2], "entities": [{"label": "PER", "score": 0.5, "word_start": 1}]}
    assert alike({**row, "more": 1}, row)
    assert alike({**row, "vector": [0.1, 0.20001]}, row)
    assert not alike({**row, "vector": [0.1, 0.21]}, row)
    assert not alike({**row, "entities": []}, row)
    assert not alike({"vector": [0.1, 0.2]}, row)


def test_words_take_their_most_frequent_label() -> None:
    training = [{"words": ["A", "b", "A"], "labels": ["B-X", "O", "B-X"]}, {"words": ["A"], "labels": ["O"]}]
    assert most_frequent(training, [{"words": ["b", "A", "new"]}]) == [["O", "B-X", "O"]]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many people watched?", "111.9"),
        ("Who played against the Denver Broncos?", "Carolina Panthers"),
        ("Which city?", "Denver Broncos"),
    ],
)
def test_a_guess_is_of_the_kind_that_is_asked_for(question: str, answer: str) -> None:
    text = "the Denver Broncos met the Carolina Panthers before 111.9 million viewers"
    assert guess(question, text) == answer
    assert guess("Who?", "nobody at all") == ""


def test_blocks_keep_sentences_whole() -> None:
    text = " ".join(f"Sentence number {n} has exactly seven words." for n in range(20))
    blocks = blocks_of([text, "One more."])
    assert " ".join(blocks) == f"{text} One more."
    assert max(len(block.split()) for block in blocks) <= BLOCK_WORDS
    assert len(blocks) == 5
    assert all(block.endswith(".") for block in blocks)


def test_short_texts_are_different_and_as_many_as_asked_for(data: Path) -> None:
    squad = read_squad("retrieval", data)
    assert (len(squad.paragraphs), len(squad.questions)) == (20, 40)
    some = short_texts(data, squad.paragraphs, 400)
    assert len(set(some)) == len(some) == 400
    assert some[:20] == squad.paragraphs
    with pytest.raises(UsageError, match="10,000,000 are needed"):
        short_texts(data, squad.paragraphs, 10_000_000)


def test_what_data_lacks_is_named(tmp_path: Path) -> None:
    for name in ("translation", "ner", "retrieval", "realm"):
        with pytest.raises(UsageError, match=f"bench {name} needs .*: --data FOLDER with"):
            benches.bench(name, as_json=False, write=None, data=None, quick=True)
    with pytest.raises(UsageError, match=r"no train\.en-de\.jsonl in"):
        read_pairs(tmp_path)
    (tmp_path / "train.en-de.jsonl").write_text('{"en": "a", "de": "b"}\n{"en": "a"}\n')
    with pytest.raises(UsageError, match=r"train\.en-de\.jsonl, line 2: KeyError"):
        read_pairs(tmp_path)
    with pytest.raises(UsageError, match=r"no \.json file in"):
        read_squad("realm", tmp_path)


def test_sentences_are_fixed() -> None:
    """The hash that BENCHMARKS.md tells."""
    found = texts.sentences(50)
    assert found.rows[:5] == texts.sentences(5).rows
    lengths = [len(str(row["text"]).split()) for row in found.rows]
    assert 3 <= min(lengths) < max(lengths) <= 60
    words = [row["words"] for row in texts.sentences(50, words=True).rows]
    assert np.array_equal([len(each) for each in words], lengths)
