"""A share of the training rows judges: every row on one side, groups whole, and the same cut wherever the data lie."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from jobs.training.encode import Tables, find_tables
from jobs.training.settings import Train
from jobs.training.sources import find_sources
from jobs.training.split import split
from pipelines import task
from pipelines.checkpoint import resolve
from stages.errors import UsageError

FILMS = st.lists(st.integers(0, 6), min_size=2, max_size=40)


@pytest.fixture(scope="module")
def reader(tiny):
    """A task that reads texts with labels."""
    ready = task("bert", "text-classification")(resolve(str(tiny("bert", "text-classification"))))
    ready.load_processor()
    return ready


def write(folder: Path, films: list[int], kind: str) -> str:
    """Two tables that hold a row a film's clip; each row's text is its number."""
    for name, some in (("a", range(len(films) // 2)), ("b", range(len(films) // 2, len(films)))):
        rows = [{"text": str(at), "label": "positive", "meta": {"film": films[at]}} for at in some]
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet", row_group_size=3)
        else:
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(folder)


def texts(tables: Tables, reader) -> list[int]:
    found = sorted(int(row["text"]) for row in tables.read(reader))
    assert len(found) == tables.rows
    return found


@examples(max_examples=60)
@given(FILMS, st.sampled_from(["parquet", "jsonl"]), st.floats(0.01, 0.99), st.sampled_from(["", "meta.film"]))
def test_every_row_is_on_one_side_and_groups_stay_whole(reader, films, kind, share, group):
    cut = []
    for _ in range(2):
        with TemporaryDirectory() as folder:
            tables = find_tables(write(Path(folder), films, kind), reader)
            if group and len(set(films)) == 1:
                with pytest.raises(UsageError, match=r"all have the same value in the column 'meta\.film'"):
                    split(tables, share, group)
                return
            teaches, judges = split(tables, share, group)
            assert len({tables.digest, teaches.digest, judges.digest}) == 3
            cut.append((texts(teaches, reader), texts(judges, reader), teaches.digest, judges.digest))
    assert cut[0] == cut[1], "the same cut wherever the data lie"
    learned, judged = cut[0][:2]
    assert sorted(learned + judged) == list(range(len(films)))
    assert learned
    assert judged
    if group:
        assert {films[at] for at in learned}.isdisjoint(films[at] for at in judged)
        assert len(judged) >= share * len(films) or len({films[at] for at in learned}) == 1
    else:
        assert len(judged) == min(len(films) - 1, max(1, -int(-share * len(films) // 1)))


def test_what_cannot_be_divided_is_refused_with_what_to_do(reader, tmp_path):
    data = write(tmp_path, [1, 2, 3, 4], "jsonl")

    def refused(match: str, *, eval_data: str | None = None, **changes: object) -> None:
        with pytest.raises(UsageError, match=match):
            find_sources(reader, data, eval_data, str(tmp_path / "out"), Train(**changes))

    refused("row 0 of .*a.jsonl has nothing in a column 'film': name one", eval_share=0.5, eval_group="film")
    refused("--eval-data names others: take one", eval_data=data, eval_share=0.5)
    with pytest.raises(UsageError, match=r"train\.eval_group divides the rows that train.eval_share keeps out"):
        Train(eval_group="film")
    with pytest.raises(UsageError, match="eval_share"):
        Train(eval_share=1.5)
