"""The frame around stages: no row is ever lost, failed rows pass by, impossible plans fail at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import OpenStages, Pool, Stage, check_plan, failures_column, seconds_column, set_column
from stages.errors import Code, Failure, PlanError, RowError


@dataclass(frozen=True, kw_only=True)
class Letters(Stage):
    """Fails for the rows whose text is in ``bad``; raises for those in ``bugs``."""

    bad: frozenset[str] = frozenset()
    bugs: frozenset[str] = frozenset()

    name = "letters"
    reads = ("text",)
    writes = ("label", "failure")

    def open(self):
        return self

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        texts = rows["text"].to_pylist()
        if self.bugs & set(texts):
            raise ZeroDivisionError("a bug")
        failures = [RowError(Code.ENCODE_FAILED, t).failure("letters") if t in self.bad else None for t in texts]
        yield set_column(rows.append_column("label", pa.array(texts)), "failure", failures_column(failures))

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Scores(Letters):
    name = "scores"
    reads = ("label",)
    writes = ("score",)
    drops = ("text",)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for i in range(rows.num_rows):  # one table a row: blocks may be cut anywhere
            one = rows.slice(i, 1).drop_columns(["text"])
            yield one.append_column("score", pa.array([1.0], pa.float32()))


def table(texts):
    return pa.table({"text": pa.array(texts, pa.string()), "failure": failures_column([None] * len(texts))})


@settings(deadline=None)
@given(texts=st.lists(st.sampled_from("abc"), min_size=1), bad=st.frozensets(st.sampled_from("abc")))
def test_every_row_arrives_healthy_or_failed(texts, bad):
    out = pa.concat_tables(OpenStages([Letters(bad=bad), Scores()])(table(texts)))  # one schema for all blocks
    assert out.num_rows == len(texts)
    rows = out.to_pylist()
    assert sorted(row["failure"]["message"] for row in rows if row["failure"]) == sorted(t for t in texts if t in bad)
    assert sorted(row["label"] for row in rows if not row["failure"]) == sorted(t for t in texts if t not in bad)
    assert all((row["score"] is None) == (row["failure"] is not None) for row in rows)
    assert "text" not in out.column_names
    assert all((row[seconds_column("scores")] is None) == (row["failure"] is not None) for row in rows)


def test_a_bug_ends_the_block_and_on_the_last_try_the_row():
    with pytest.raises(ZeroDivisionError):
        list(OpenStages([Letters(bugs=frozenset("a"))])(table(["a"])))
    (out,) = OpenStages([Letters(bugs=frozenset("a"))], last_try=True)(table(["a"]))
    failure = out["failure"].to_pylist()[0]
    assert failure["code"] == Code.INTERNAL
    assert failure["message"] == "ZeroDivisionError: a bug"
    assert "Traceback" in failure["detail"]


def test_plans_name_the_stage_and_the_missing_column():
    assert check_plan(["text"], [Pool(stages=(Letters(), Scores()))]) == ("failure", "label", "score")
    with pytest.raises(PlanError, match=r"stage scores needs the column 'label'.*there are: text"):
        check_plan(["text"], [Pool(stages=(Scores(),))])
    with pytest.raises(PlanError, match="'text'"):  # dropped by scores
        check_plan(["text"], [Pool(stages=(Letters(), Scores())), Pool(stages=(Letters(),))])


@given(st.text(), st.text(), st.integers(1, 9))
def test_failures_survive_arrow(message, detail, attempts):
    failure = Failure(stage="s", code=Code.CRASH, message=message, detail=detail, attempts=attempts)
    (back,) = failures_column([failure]).to_pylist()
    assert Failure(**{**back, "code": Code(back["code"])}) == failure
