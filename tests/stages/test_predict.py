"""Predictor and its stages, with a task that computes with numpy: what it does with order, memory, failures."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages import predictor as module
from stages.base import OpenStages, Pool, Row, check_plan
from stages.errors import Code, Failure, PlanError, RowError
from stages.examples import Example, Output
from stages.predict import Predict, Predictor, Prepare, PrepareAndPredict
from stages.predictor import row_seed
from stages.settings import Predict as Settings

CPU = Settings(device="cpu", dtype="float32")


class Counting:
    """Answers with the number of characters, one example a word; text steers what goes wrong."""

    name: ClassVar[str] = "counting"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    optional: ClassVar[tuple[str, ...]] = ("question",)
    writes: ClassVar[tuple[str, ...]] = ("answer", "score")
    equal_lengths: ClassVar[bool] = False
    batch_cost: ClassVar[int] = 0

    def __init__(self, *, room: int = 10**6, error: Exception | None = None) -> None:
        self.room, self.error = room, error
        self.seen: list[list[int]] = []  # lengths of each batch that was run; shared by copies

    def load_processor(self) -> None:
        self.ready = True

    def load_model(self, device, dtype) -> None:
        self.model = torch.nn.Identity()

    def records(self, row: Row) -> list[Row]:
        if row["text"] == "unreadable":
            raise RowError(Code.ENCODE_FAILED, "no records")
        if row.get("question") is None:
            return [row]
        questions = str(row["question"]).split("|")
        return [{**row, "question": question, "record": n} for n, question in enumerate(questions)]

    def encode(self, row: Row) -> list[Example]:
        assert self.ready
        if not isinstance(row["text"], str):
            raise RowError(Code.ENCODE_FAILED, "no text")
        words = row["text"].split()
        arrays = [np.frombuffer(word.encode(), np.uint8).astype(np.int32) for word in words]
        return [Example(arrays={"input_ids": each}, length=len(each)) for each in arrays]

    def collate(self, examples: Sequence[Example]):
        longest = max(one.length for one in examples)
        return {"input_ids": torch.zeros(len(examples), longest)}

    def forward(self, batch, examples: Sequence[Example]) -> list[Output]:
        assert torch.is_inference_mode_enabled()
        self.seen.append([one.length for one in examples])
        if batch["input_ids"].numel() > self.room:
            raise self.error or torch.OutOfMemoryError("CUDA out of memory")
        return [self._count(one) for one in examples]

    def _count(self, one: Example) -> Output:
        word = bytes(one.arrays["input_ids"].astype(np.uint8)).decode()
        return {"count": np.array([np.nan if word == "nan" else one.length], np.float32)}

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        if "undecodable" in str(row["text"]):
            raise RowError(Code.DECODE_FAILED, "no answer")
        counts = [float(out["count"][0]) for out in outputs]
        return {"answer": f"{row.get('question')}:{row['text']}", "score": sum(counts)}


def opened(task: Counting, settings: Settings = CPU) -> Predictor:
    return Predictor(task, settings).open()


words = st.text("abcdefgh", min_size=1, max_size=30)
texts = st.lists(st.lists(words, max_size=4).map(" ".join), max_size=12)


@given(texts, st.integers(1, 200), st.sampled_from([10, 50, 10**6]), st.booleans())
def test_answers_come_in_order_whatever_the_batches_and_the_memory(given_texts, budget, room, equal):
    task = Counting(room=max(room, 30))
    task.equal_lengths = equal  # type: ignore[misc]
    answers = opened(task, replace(CPU, token_budget=budget)).predict([{"text": text} for text in given_texts])
    assert [answer["score"] for answer in answers] == [len(text.replace(" ", "")) for text in given_texts]
    assert not equal or all(len(set(batch)) == 1 for batch in task.seen)
    assert all(len(batch) == 1 or len(batch) * max(batch) <= budget for batch in task.seen)


@pytest.mark.parametrize(
    "error",
    [
        None,
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
    ids=str,
)
def test_a_batch_that_does_not_fit_is_halved_down_to_one_example(error):
    task = Counting(room=12, error=error)
    first, large, last = opened(task).predict([{"text": "aaaa bbbb cccc dddd"}, {"text": "e" * 13}, {"text": "ff"}])
    assert first["score"] == 16
    assert last["score"] == 2
    assert large == Failure(
        stage="predict",
        code=Code.OUT_OF_MEMORY,
        message="one example of 13 tokens does not fit into the memory of cpu",
    )


def test_after_memory_ran_out_batches_are_smaller_at_once():
    task = Counting(room=100)
    predictor = opened(task)
    rows = [{"text": "abcde"}] * 40
    predictor.predict(rows)
    failed = sum(5 * len(batch) > 100 for batch in task.seen)
    assert failed == 1
    assert all(answer["score"] == 5 for answer in predictor.predict(rows))
    task.seen.clear()
    predictor.predict(rows)
    assert not any(5 * len(batch) > 100 for batch in task.seen)


def test_other_errors_are_bugs_and_raised():
    with pytest.raises(RuntimeError, match="shapes"):
        opened(Counting(room=0, error=RuntimeError("shapes do not match"))).predict([{"text": "a"}])


def test_each_row_fails_alone():
    rows = [{"text": text} for text in ("good", None, "undecodable", "unreadable", "a nan", "fine")]
    good, encoding, decoding, reading, nan, fine = opened(Counting()).predict(rows)
    assert [good["score"], fine["score"]] == [4, 4]
    assert encoding == Failure(stage="prepare", code=Code.ENCODE_FAILED, message="no text")
    assert decoding == Failure(stage="predict", code=Code.DECODE_FAILED, message="no answer")
    assert reading == Failure(stage="prepare", code=Code.ENCODE_FAILED, message="no records")
    assert nan.code == Code.INTERNAL
    assert "not a number (NaN) in float32: the checkpoint's weights are broken" in nan.message


def test_nan_in_half_precision_names_the_remedy():
    (nan,) = opened(Counting(), replace(CPU, dtype="float16")).predict([{"text": "nan"}])
    assert nan.message.endswith("in float16: try --set predict.dtype=float32")


def test_the_task_given_stays_a_description():
    task = Counting()
    opened(task)
    assert not hasattr(task, "ready")
    assert pickle.loads(pickle.dumps(PrepareAndPredict(task=task, settings=CPU))).reads == ("text",)


def test_threads_are_those_the_operator_holds():
    before = torch.get_num_threads()
    try:
        Predictor(Counting(), CPU, threads=1).open()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_seeds_depend_on_the_key_alone():
    row = {"uri": "a", "source": "1", "page": 2, "record": 0, "text": "x"}
    assert row_seed(row) == row_seed({**row, "words": ["y"], "score": 3.0})
    others = [{**row, "page": 3}, {**row, "record": 1}, {**row, "uri": "b"}, {**row, "source": "2"}]
    assert len({row_seed(row), row_seed(row, 1), *map(row_seed, others)}) == 6
    assert 0 <= row_seed(row) < 2**63


# ---- as stages


def table(**columns) -> pa.Table:
    return pa.table(columns)


def run(stages, source: pa.Table) -> list[Row]:
    pools = OpenStages(stages)
    rows = pa.concat_tables(pools(source), promote_options="default").to_pylist()
    pools.close()
    return [{name: value for name, value in row.items() if not name.startswith("seconds:")} for row in rows]


def both(task: Counting) -> list[list]:
    one = [PrepareAndPredict(task=task, settings=CPU)]
    two = [Prepare(task=task), Predict(task=task, settings=CPU)]
    return [one, two]


@pytest.mark.parametrize("which", [0, 1], ids=["one operator", "two operators"])
def test_no_row_is_lost_between_the_stages(which):
    source = table(
        uri=["1", "2", "3", "4", "5"],
        text=["good", None, "undecodable", "unreadable", "fine day"],
        extra=[1, 2, 3, 4, 5],
    )
    rows = run(both(Counting())[which], source)
    by = {row["uri"]: row for row in rows}
    assert {uri: row["answer"] for uri, row in by.items() if row["failure"] is None} == {
        "1": "None:good",
        "5": "None:fine day",
    }
    codes = {uri: row["failure"]["code"] for uri, row in by.items() if row["failure"]}
    assert codes == {"2": "encode_failed", "3": "decode_failed", "4": "encode_failed"}
    assert [by[uri]["extra"] for uri in "12345"] == [1, 2, 3, 4, 5]
    assert all("encoded" not in row for row in rows)
    assert all(row["record"] == 0 for row in rows)


@pytest.mark.parametrize("which", [0, 1], ids=["one operator", "two operators"])
def test_a_row_that_is_asked_twice_becomes_two(which):
    source = table(uri=["1", "2"], text=["a", "b"], question=["who|when", None], record=pa.array([None, 7], pa.int64()))
    rows = run(both(Counting())[which], source)
    answers = [(row["uri"], row["record"], row["question"], row["answer"]) for row in rows]
    assert answers == [("1", 0, "who", "who:a"), ("1", 1, "when", "when:a"), ("2", 7, None, "None:b")]


@pytest.mark.parametrize("which", [0, 1], ids=["one operator", "two operators"])
def test_all_blocks_have_one_schema(which):
    stages = both(Counting())[which]
    good, bad = table(text=["a"]), table(text=pa.array([None], pa.string()))
    schemas = [pa.concat_tables(OpenStages(stages)(each), promote_options="none").schema for each in (good, bad)]
    assert {field.name: field.type for field in schemas[0]} == {field.name: field.type for field in schemas[1]}


def test_plans_are_checked():
    prepare, predict = both(Counting())[1]
    assert "answer" in check_plan(["uri", "text"], [Pool(stages=(prepare,)), Pool(stages=(predict,))])
    with pytest.raises(PlanError, match="stage prepare needs the column 'text'"):
        check_plan(["uri"], [Pool(stages=(prepare,))])
    with pytest.raises(PlanError, match="stage predict needs the column 'encoded'"):
        check_plan(["uri", "text"], [Pool(stages=(predict,))])


def test_only_what_the_task_looks_at_becomes_python(monkeypatch):
    """A page's other columns may be megabytes."""
    looked = []
    real = module.Predictor.encode_rows
    monkeypatch.setattr(module.Predictor, "encode_rows", lambda self, rows: looked.extend(rows) or real(self, rows))
    run(both(Counting())[0], table(uri=["1"], text=["a"], image=[b"x" * 100], page=[1]))
    assert set(looked[0]) == {"uri", "text", "page"}
