"""Translation: beams and draws as transformers has them, long texts by sentences, languages, training, BLEU."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import references_writing
import torch

import pipelines
from pipelines import Checkpoint
from pipelines.contract.rows import SHORT, sample_rows
from pipelines.tasks.generating import GenerationOptions
from pipelines.tasks.sentences import fitting, rejoined, sentences
from stages.errors import Code, Failure, RowError, UsageError
from stages.predictor import Predictor
from stages.settings import Predict as Settings

FAMILIES = ("t5", "fsmt")
HOWS = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 3},
    "several": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 2.0},
    "short": {"num_beams": 3, "length_penalty": -3.0, "max_new_tokens": 8},
}
TEXT = "The dog. The cat is red.\n\nLondon is a city! It has 12.50 river.  \nOld Paris"


def described(folder, family: str, **options) -> pipelines.Task:
    task = pipelines.task(family, "translation")
    return task(Checkpoint(ref=str(folder), path=str(folder), content=""), task.options_type(**options))


def predictor(folder, family: str, budget: int = 0, **options) -> Predictor:
    settings = Settings(dtype="float32", device="cpu", token_budget=budget)
    return Predictor(described(folder, family, **options), settings).open()


def rows_for(family: str, sizes=SHORT) -> list:
    return sample_rows(pipelines.task(family, "translation"), sizes=sizes)


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_writing_is_that_of_transformers(tiny, family, how):
    rows, folder = rows_for(family), tiny(family, "translation")
    ours = predictor(folder, family, **how).predict(rows)
    theirs = references_writing.REFERENCES[f"{family}/translation"](folder, rows, **how)
    for one, other in zip(ours, theirs, strict=True):
        assert one["translation"] == other["translation"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert [each["text"] for each in one["sequences"] or []] == [each["text"] for each in other["sequences"] or []]


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_depend_on_the_row_and_the_seed_alone(tiny, family):
    rows, folder = rows_for(family, sizes=(3, 5, 4, 6)), tiny(family, "translation")
    how = {"do_sample": True, "num_beams": 1, "num_return_sequences": 2, "temperature": 1.5}
    first = predictor(folder, family, **how).predict(rows)
    order = random.Random(0).sample(range(len(rows)), len(rows))
    again = predictor(folder, family, budget=1, **how).predict([rows[n] for n in order])
    assert [row["sequences"][0]["text"] for row in again] == [first[n]["sequences"][0]["text"] for n in order]
    assert predictor(folder, family, seed=1, **how).predict(rows) != first
    assert any(len({each["text"] for each in row["sequences"]}) > 1 for row in first)
    twins = predictor(folder, family, **how).predict([{**rows[0], "uri": "a"}, {**rows[0], "uri": "b"}])
    assert twins[0] != twins[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_long_texts_are_translated_by_sentences_and_rejoined(tiny, family):
    folder = tiny(family, "translation")
    (whole,) = predictor(folder, family, split_sentences=True).predict([{"text": TEXT}])
    parts = ("The dog.", "The cat is red.", "London is a city!", "It has 12.50 river.", "Old Paris")
    one, two, three, four, five = (
        each["translation"] for each in predictor(folder, family).predict([{"text": part} for part in parts])
    )
    assert whole["translation"] == f"{one} {two}\n\n{three} {four}  \n{five}"


def test_sentences_cover_the_text():
    spans = sentences(TEXT, "en")
    assert [TEXT[start:end] for start, end in spans][:2] == ["The dog.", "The cat is red."]
    assert rejoined(TEXT, spans, [TEXT[start:end] for start, end in spans]) == TEXT
    assert sentences(" \n ", "en") == []


def test_a_sentence_that_is_too_long_is_cut_between_words():
    text = "one two three four five"
    parts = fitting(text, (0, len(text)), lambda part: len(part.split()), 2)
    assert [text[start:end] for start, end in parts] == ["one two", "three four", "five"]
    with pytest.raises(RowError, match="'three' alone is more than 4"):
        fitting(text, (0, len(text)), len, 4)


def test_a_word_beyond_the_model_becomes_an_error_row(tiny):
    good, bad = predictor(tiny("t5", "translation"), "t5").predict([{"text": "The dog"}, {"text": "x" * 100}])
    assert good["translation"]
    assert isinstance(bad, Failure)
    assert bad.code is Code.ENCODE_FAILED


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("t5", {"target_lang": "fr"}, "does not translate en to fr; it has: en_to_de"),
        ("fsmt", {"source_lang": "de"}, "translates en to de, not de to de"),
        ("t5", {"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences 3 is more than the 2 beams"),
    ],
)
def test_what_the_checkpoint_lacks_is_refused_at_the_start(tiny, family, options, message):
    with pytest.raises(UsageError, match=message):
        described(tiny(family, "translation"), family, **options).load_processor()


def test_t5_without_word_of_its_pairs_takes_those_it_was_trained_on(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny("t5", "translation"), folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("task_specific_params")
    (folder / "config.json").write_text(json.dumps(config))
    task = described(folder, "t5", target_lang="ro")
    task.load_processor()
    assert task.prefix == "translate English to Romanian: "
    with pytest.raises(UsageError, match="any of en, de, fr, ro"):
        described(folder, "t5", target_lang="ja").load_processor()


@pytest.mark.parametrize(
    "wrong", [{"num_beams": -1}, {"top_p": 0.0}, {"temperature": 0.0}, {"num_return_sequences": 0}, {"top_k": -1}]
)
def test_options_out_of_bounds_are_named(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        GenerationOptions(**wrong)


def labelled(task) -> list:
    pairs = [("The dog is red", "Der Hund"), ("A cat", "Eine große Katze in Paris"), ("London", "London")]
    rows = [{"text": text, "translation": translation} for text, translation in pairs]
    return [one for row in rows for one in task.encode_labels(row, task.encode(row))]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_loss_is_that_of_transformers(tiny, family):
    task = described(tiny(family, "translation"), family)
    task.load_processor()
    task.load_model(torch.device("cpu"), torch.float32)
    batch = task.collate(labelled(task))
    theirs = task.model(**batch).loss if family == "t5" else None
    if theirs is None:  # FSMT's own loss shifts the source for want of decoder_input_ids, and counts padding
        logits = task.model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False).logits
        theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
    assert float(task.loss(task.run(batch), batch["labels"], None)) == pytest.approx(float(theirs), rel=1e-5)
    later = {**batch, "decoder_input_ids": batch["decoder_input_ids"].clone()}
    later["decoder_input_ids"][:, -1] = 5
    assert torch.allclose(task.run(later).logits[:, :-1], task.run(batch).logits[:, :-1], atol=1e-5), "no look ahead"


def test_fsmt_numbers_translations_in_the_target_vocabulary(tiny):
    task = described(tiny("fsmt", "translation"), "fsmt")
    task.load_processor()
    ids = task.target_ids("London Paris")
    assert task.tokenizer.decode(ids, skip_special_tokens=True) == "London Paris"
    assert ids != task.tokenizer("London Paris")["input_ids"]


def test_pairs_that_are_too_long_are_left_out_of_training_by_name(tiny):
    task = described(tiny("t5", "translation"), "t5")
    task.load_processor()
    long = "Dog " * 80
    for text, translation, what in ((long, "x", "text"), ("x", long, "translation")):
        row = {"text": text, "translation": translation}
        with pytest.raises(RowError, match=f"the {what} has more than the 64 tokens"):
            task.encode_labels(row, task.encode(row))


def test_bleu_is_sacrebleus(tiny):
    import sacrebleu

    task = described(tiny("t5", "translation"), "t5")
    task.load_processor()
    gold = ["A small dog runs over the red street.", "Paris is the capital of France."]
    ours = ["A small dog walks over the red street.", "Paris is the capital of France."]
    scores = task.metrics([{"translation": one} for one in gold], [{"translation": one} for one in ours])
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(ours, [gold]).score)
    assert scores["generation_length"] > 5
