"""Labelled data in people's own forms, as tables: what is read, what is refused and where it is said to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.labelled import table_of, with_labels
from jobs.labelled.fields import label_fields
from jobs.labelled.lines import Line, words_of
from jobs.training.encode import find_tables
from pipelines import Checkpoint, Task, task
from pipelines.checkpoint import resolve
from stages.base import Row
from stages.errors import UsageError

TinyFolder = Callable[[str, str], Path]
NOWHERE = Checkpoint(ref="x", path="/x", content="")
TOKENS = task("layoutlm", "token-classification")(NOWHERE)
QUESTIONS = task("bert", "question-answering")(NOWHERE)


def write(place: Path, files: Mapping[str, str | bytes]) -> str:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(place)


def image(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path)


def read(uri: str, tmp_path: Path, kind: Task = TOKENS) -> list[Row]:
    source = table_of(uri, kind, str(tmp_path / "made"), "train")
    assert source.digest
    return list(pq.read_table(source.table).to_pylist())


# ---- CoNLL

CONLL = "# id = 1\n-DOCSTART- -X- O\n\nU.N. NNP B-ORG\nofficial NN O\n\n\n#\tO\n#tag\tO\nPeter\tB-PER\n"


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "deep/er/a.bio"])
def test_conll_files_are_sentences(tmp_path: Path, name: str) -> None:
    rows = read(write(tmp_path / "data", {name: CONLL}), tmp_path)
    assert [row["words"] for row in rows] == [["U.N.", "official"], ["#", "#tag", "Peter"]]
    assert [row["labels"] for row in rows] == [["B-ORG", "O"], ["O", "O", "B-PER"]]
    assert str(rows[0]["uri"]).endswith(name)


@given(st.lists(st.lists(st.sampled_from(["O", "B-X", "I-X"]), min_size=1, max_size=5), min_size=1, max_size=5))
def test_conll_keeps_every_word(tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("conll")
    text = "\n\n".join("\n".join(f"w{at} {label}" for at, label in enumerate(each)) for each in sentences)
    assert [row["labels"] for row in read(write(folder / "data", {"a.conll": text}), folder)] == sentences


def test_a_word_without_a_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a.conll, line 3: 'alone' has no label beside it"):
        read(write(tmp_path / "data", {"a.conll": "a O\nb O\nalone\n"}), tmp_path)
    with pytest.raises(UsageError, match=r"b.conll is not UTF-8 text \(byte 2\)"):
        read(write(tmp_path / "other", {"b.conll": b"a \xff"}), tmp_path)
    with pytest.raises(UsageError, match="has no rows"):
        read(write(tmp_path / "empty", {"c.conll": "\n\n"}), tmp_path)


def test_text_that_is_no_conll_is_not_taken_for_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no training table at .*CoNLL files.*FUNSD.*spans.*SQuAD.*SROIE"):
        read(write(tmp_path / "data", {"readme.txt": "How to use\nthese files"}), tmp_path)


# ---- FUNSD


def funsd(*entities: object) -> str:
    return json.dumps({"form": list(entities)})


def entity(label: str, *words: tuple[str, Sequence[float]]) -> dict[str, object]:
    return {"label": label, "text": "", "words": [{"text": text, "box": box} for text, box in words]}


def test_funsd_pages_have_boxes_of_the_page_and_one_label_a_word(tmp_path: Path) -> None:
    form = funsd(
        entity("question", ("Date", [20, 10, 60, 30]), ("of:", [60, 10, 80, 30])),
        entity("answer", ("", [0, 0, 0, 0]), ("today", [100, 10, 190, 30])),
        entity("other", ("page", [150, 370, 300, 500])),
    )
    place = write(tmp_path / "data", {"annotations/p1.json": form})
    image(tmp_path / "data" / "images" / "p1.png", 200, 400)
    (row,) = read(place, tmp_path)
    assert row["words"] == ["Date", "of:", "today", "page"]
    assert row["labels"] == ["B-QUESTION", "I-QUESTION", "B-ANSWER", "O"]
    assert row["boxes"] == [[100, 25, 300, 75], [300, 25, 400, 75], [500, 25, 950, 75], [750, 925, 1000, 1000]]
    assert row["image"] == str(tmp_path / "data" / "images" / "p1.png").encode()


def test_what_is_wrong_with_a_funsd_page_is_named(tmp_path: Path) -> None:
    good = funsd(entity("other", ("a", [0, 0, 1, 1])))
    place = write(tmp_path / "data", {"annotations/p1.json": good})
    with pytest.raises(UsageError, match=r"p1.json: no image p1.png, .jpg or the like beside it"):
        read(place, tmp_path)
    for name in ("p1", "p2"):
        image(tmp_path / "data" / "images" / f"{name}.png", 10, 10)
    for text, told in (
        ("{\n\n", r"p2.json, line 3: not JSON"),
        ("[]", r"p2.json is no page of FUNSD's form"),
        (funsd({"label": "other"}), r"p2.json, entity 0 of 'form' \(from 0\): no 'words'"),
        (funsd(entity("other", ("a", [0, 0, 1]))), r"entity 0 of 'form' \(from 0\): a box of 3 numbers"),
    ):
        write(tmp_path / "data", {"annotations/p2.json": text})
        with pytest.raises(UsageError, match=told):
            read(place, tmp_path)
    write(tmp_path / "data", {"annotations/p2.json": good, "images/p2.png": b"no image"})
    with pytest.raises(UsageError, match=r"p2.png is no image that can be read"):
        read(place, tmp_path)
    assert not list(tmp_path.glob("made/**/*.parquet")), "whole or not at all"


# ---- SROIE

BOX = "10,10,90,10,90,20,10,20,ACME, LTD\n10,30,50,30,50,40,10,40,TOTAL\n60,30,90,30,90,40,60,40,RM9.00\n"
FIELDS = json.dumps({"company": "Acme Ltd.", "total": "9.00", "date": "1/2/2020"})


@pytest.mark.parametrize("keys", ["key/r1.json", "entities/r1.txt"])
def test_sroie_receipts_are_labelled_by_their_fields(tmp_path: Path, keys: str) -> None:
    place = write(tmp_path / "data", {"box/r1.txt": BOX, keys: FIELDS})
    image(tmp_path / "data" / "img" / "r1.jpg", 100, 50)
    (row,) = read(place, tmp_path)
    assert row["words"] == ["ACME,", "LTD", "TOTAL", "RM9.00"]
    assert row["labels"] == ["B-COMPANY", "I-COMPANY", "O", "B-TOTAL"]
    assert row["boxes"] == [[100, 200, 544, 400], [633, 200, 900, 400], [100, 600, 500, 800], [600, 600, 900, 800]]


def test_what_is_wrong_with_a_receipt_is_named(tmp_path: Path) -> None:
    image(tmp_path / "data" / "img" / "r1.jpg", 100, 50)
    for files, told in (
        ({"box/r1.txt": BOX + "1,2,3\n"}, r"r1.txt, line 4: 3 values; a line is eight corners and its text"),
        ({"box/r1.txt": "a,2,3,4,5,6,7,8,x"}, r"r1.txt, line 1: could not convert string to float: 'a'"),
        ({"box/r1.txt": BOX, "key/r1.json": "{\n'"}, r"r1.json, line 2: not JSON"),
        ({"key/r1.json": '{"total": 9}'}, r"r1.json: the fields are no JSON object of texts"),
        ({"key/r1.json": FIELDS, "box/r2.txt": BOX}, r"r2.txt: no fields r2.json or r2.txt in a folder key/"),
    ):
        place = write(tmp_path / "data", {"key/r1.json": FIELDS, **files})
        with pytest.raises(UsageError, match=told):
            read(place, tmp_path)


# ---- fields


def labelled(lines: Sequence[tuple[str, int, int]], **fields: str) -> list[tuple[str, str]]:
    """The words that are labelled, of lines with their left and upper edges on a page 100 by 100."""
    page = words_of([Line(text=text, box=(x, y, x + 30, y + 4)) for text, x, y in lines], 100, 100)
    labels = label_fields(page, fields)
    return [(word, label) for word, label in zip(page.words, labels, strict=True) if label != "O"]


def test_fields_run_over_lines_and_forgive_slips_of_the_pen() -> None:
    lines = [("NO. 53, JALAN SAGU", 0, 0), ("18, TAMAN DAYA", 0, 5), ("JOHOR", 0, 10), ("CASHIER", 0, 15)]
    found = labelled(lines, address="No.53 Jalan Sagu 18, Taman Dayaa, Johor.")
    assert [word for word, _ in found] == ["NO.", "53,", "JALAN", "SAGU", "18,", "TAMAN", "DAYA", "JOHOR"]
    assert [label for _, label in found] == ["B-ADDRESS", *["I-ADDRESS"] * 7]
    assert labelled(lines, company="SOMETHING ELSE ENTIRELY") == []
    assert labelled(lines, company="") == []


def test_a_field_inside_a_word_is_the_word() -> None:
    assert labelled([("DATE:25/12/2018 8:13PM", 0, 0)], date="25/12/2018") == [("DATE:25/12/2018", "B-DATE")]


def test_an_amount_is_looked_for_beside_its_name() -> None:
    lines = [("tea 9.00", 0, 0), ("TOTAL:", 0, 10), ("RM9.00", 50, 10), ("CASH 9.00", 0, 20), ("19.00", 0, 30)]
    assert labelled(lines, total="9.00") == [("RM9.00", "B-TOTAL")]
    assert labelled([lines[0], lines[3], lines[4]], total="9.00") == [("9.00", "B-TOTAL")], "else the last of them"
    assert labelled([("TOTAL 1,234.50", 0, 0)], total="1234.50") == [("1,234.50", "B-TOTAL")]


def test_the_longer_field_keeps_what_two_claim() -> None:
    found = labelled([("TAMAN DAYA SHOP", 0, 0)], company="TAMAN DAYA SHOP", address="TAMAN DAYA")
    assert {label for _, label in found} == {"B-COMPANY", "I-COMPANY"}


# ---- spans


def test_spans_of_words_and_characters_become_labels(tmp_path: Path) -> None:
    rows = [
        {
            "words": ["Total", "9", "EUR"],
            "boxes": [[0, 0, 1, 1]] * 3,
            "spans": [{"start": 1, "end": 3, "label": "SUM"}],
        },
        {"text": "In Paris, 2020.", "spans": [{"start": 3, "end": 7, "label": "PLACE"}], "uri": "mine"},
    ]
    place = write(tmp_path / "data", {"a.jsonl": "\n".join(map(json.dumps, rows)) + "\n"})
    first, second = read(place, tmp_path)
    assert first["labels"] == ["O", "B-SUM", "I-SUM"]
    assert first["boxes"] == [[0, 0, 1, 1]] * 3
    assert (second["words"], second["uri"]) == (["In", "Paris", ",", "2020", "."], "mine")
    assert second["labels"] == ["O", "B-PLACE", "O", "O", "O"]


def test_what_a_run_found_trains_the_next_model(tmp_path: Path) -> None:
    found = [{"text": "9 EUR", "label": "SUM", "word_start": 1, "word_end": 3}]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"words": [["Total", "9", "EUR"]], "entities": [found]}), tmp_path / "data" / "a.parquet")
    (row,) = read(str(tmp_path / "data"), tmp_path)
    assert row["labels"] == ["O", "B-SUM", "I-SUM"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"words": ["a"], "spans": [{"start": 4, "end": 5, "label": "X"}]}, "the span 4 to 5 .X. holds no word"),
        ({"words": ["a"], "spans": [{"start": 0, "end": 1, "label": "X"}] * 2}, "the span 0 to 1 .X. overlaps another"),
        ({"words": ["a"], "spans": [{"start": 0, "label": "X"}]}, "no 'end'"),
        ({"spans": []}, "the row has neither words nor text"),
        ([], "not a JSON object"),
    ],
)
def test_what_is_wrong_with_a_span_is_named(tmp_path: Path, row: object, told: str) -> None:
    lines = [json.dumps({"words": ["a"], "spans": []}), json.dumps(row)]
    with pytest.raises(UsageError, match=f"a.jsonl, line 2: {told}"):
        read(write(tmp_path / "data", {"a.jsonl": "\n".join(lines)}), tmp_path)


def test_tables_with_labels_are_taken_as_they_lie(tmp_path: Path) -> None:
    place = write(tmp_path / "data", {"a.jsonl": '{"words": ["a"], "labels": ["O"], "spans": []}'})
    assert table_of(place, TOKENS, str(tmp_path / "made"), "train").table == place
    assert not (tmp_path / "made").exists()


def test_data_of_several_kinds_is_not_chosen_from(tmp_path: Path) -> None:
    table = '{"words": ["a"], "labels": ["O"]}'
    place = write(tmp_path / "data", {"a.jsonl": table, "b.conll": "a O"})
    with pytest.raises(UsageError, match=r"of several kinds: .* There are CoNLL files .*tables"):
        table_of(place, TOKENS, str(tmp_path / "made"), "train")


# ---- SQuAD


def test_squad_is_one_row_a_question(tmp_path: Path) -> None:
    asked = {"id": "q1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}
    impossible = {"id": "q2", "question": "Why?", "is_impossible": True, "answers": [], "plausible_answers": []}
    told = {"data": [{"title": "t", "paragraphs": [{"context": "Ann came.", "qas": [asked, impossible]}]}]}
    place = write(tmp_path / "data", {"dev.json": json.dumps(told)})
    rows = read(place, tmp_path, QUESTIONS)
    assert [(row["question"], row["answers"], row["answer_starts"]) for row in rows] == [
        ("Who?", ["Ann"], [0]),
        ("Why?", [], []),
    ]
    assert {row["text"] for row in rows} == {"Ann came."}
    del asked["answers"]
    write(tmp_path / "data", {"dev.json": json.dumps(told)})
    with pytest.raises(
        UsageError, match=r"dev.json: data\[0\].paragraphs\[0\], question q1 is not as in SQuAD: 'answers'"
    ):
        read(place, tmp_path, QUESTIONS)


# ---- what it is by its content, and a head for its labels


def test_a_digest_is_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    digests = []
    for name, text in (("one", CONLL), ("two", CONLL), ("other", CONLL + "x\tO\n")):
        place = write(tmp_path / name, {"a.conll": text})
        digests.append(table_of(place, TOKENS, str(tmp_path / name), "train").digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_base_checkpoint_takes_the_labels_of_the_data(tmp_path: Path, tiny: TinyFolder) -> None:
    write(tmp_path, {"a.jsonl": '{"words": ["a", "b", "c"], "labels": ["I-SUM", "O", "B-SUM"]}\nnot JSON\n'})
    pq.write_table(pa.table({"words": [["a"]], "labels": [["B-DAY"]]}), tmp_path / "b.parquet")
    base = task("bert", "token-classification")(resolve(str(tiny("bert", "features"))))
    files = [file for name in ("a.jsonl", "b.parquet") for file in find_tables(str(tmp_path / name), base).files]
    for _ in range(2):  # once more into the same folder
        named = task("bert", "token-classification")(
            with_labels(base.checkpoint, "labels", files, str(tmp_path / "out"))
        )
    named.load_processor()
    assert named.labels == ["O", "B-DAY", "B-SUM", "I-SUM"]  # type: ignore[attr-defined]
    assert named.checkpoint.ref == base.checkpoint.ref
    own = resolve(str(tiny("bert", "token-classification")))
    assert with_labels(own, "labels", files, str(tmp_path / "out")) is own, "it names its labels"
