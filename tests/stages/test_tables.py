"""Rows of tables come with declared types; what does not fit fails alone."""

from __future__ import annotations

import json
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.base import OpenStages
from stages.columns import COLUMNS
from stages.errors import Code, RowError, UsageError
from stages.settings import Limits
from stages.table_columns import Columns
from stages.tables import ReadTable, inspect, values_of

ROWS = [
    {"id": f"row{i}", "meta": {"en": f"text {i}"}, "words": ["a", "b"], "boxes": [[0, 0, 9, 9]] * 2} for i in range(10)
]
COLUMNS_ASKED = Columns(needs=("text", "words", "boxes"), optional=("question",), paths={"text": "meta.en"})


def write(folder, rows, kind):
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    return path


def read(path, columns, block=4, only=None):
    file = inspect(str(path), "v1", path.stat().st_size, columns, Limits())
    stages = OpenStages([ReadTable(columns=columns, limits=Limits())])
    slices = file.slices([(0, file.rows)], block, only)
    with closing(stages):
        tables = [out for i in range(slices.num_rows) for out in stages(slices.slice(i, 1))]
    assert all(table.schema == tables[0].schema for table in tables)
    return pa.concat_tables(tables)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("block", [1, 4, 256])
def test_rows_come_in_order_with_declared_types(tmp_path, kind, block):
    table = read(write(tmp_path, ROWS, kind), COLUMNS_ASKED, block)
    assert table["text"].to_pylist() == [f"text {i}" for i in range(10)]
    assert table["record"].to_pylist() == list(range(10))
    assert set(table["pages"].to_pylist()) == {10}
    assert table["boxes"].type == COLUMNS["boxes"].type
    assert table["failure"].null_count == 10
    assert set(table["uri"].to_pylist()) == {str(tmp_path / f"rows.{kind}")}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("block", [1, 4, 256])
def test_only_the_rows_that_are_wanted_are_read(tmp_path, kind, block):
    rows = [*ROWS[:8], "no JSON", ROWS[9]] if kind == "jsonl" else ROWS
    table = read(write(tmp_path, rows, kind), COLUMNS_ASKED, block, only={2, 3, 8, 9}.__contains__)
    assert table["record"].to_pylist() == [2, 3, 8, 9]
    texts = ["text 2", "text 3", None if kind == "jsonl" else "text 8", "text 9"]
    assert table["text"].to_pylist() == texts
    assert [one is None for one in table["failure"].to_pylist()] == [text is not None for text in texts]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_is_read_alone(tmp_path, kind):
    path = write(tmp_path, [*ROWS, {"id": None}], kind)
    file = inspect(str(path), "v1", path.stat().st_size, Columns(needs=()), Limits())
    assert values_of(file, "meta.en", Limits()) == [*(f"text {i}" for i in range(10)), None]
    assert values_of(file, "nothing", Limits()) == [None] * 11


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_uri_column_names_the_rows_and_the_source_leads_back(tmp_path, kind):
    path = write(tmp_path, [{**row, "uri": f"own{i}"} for i, row in enumerate(ROWS)], kind)
    table = read(path, COLUMNS_ASKED)
    assert table["uri"].to_pylist() == [f"own{i}" for i in range(10)]
    assert set(table["source"].to_pylist()) == {f"v1@{path}"}


def test_what_does_not_fit_fails_alone(tmp_path):
    good = {"text": "fine"}
    rows = [good, "not json", "[1]", {"text": None}, {"text": 7}, {"text": ["x"]}, good]
    table = read(write(tmp_path, rows, "jsonl"), Columns(needs=("text",)))
    codes = [failure and failure["code"] for failure in table["failure"].to_pylist()]
    decode, encode = str(Code.DECODE_FAILED), str(Code.ENCODE_FAILED)
    assert codes == [None, decode, decode, encode, encode, encode, None]
    assert "text" in table["failure"].to_pylist()[4]["message"]


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    path = write(tmp_path, ROWS, "parquet")
    with pytest.raises(UsageError, match=r"no column 'text'.*id, meta, words, boxes.*--map text="):
        inspect(str(path), "v1", 1, Columns(needs=("text",)), Limits())


@pytest.mark.parametrize(("data", "code"), [(b"", Code.EMPTY), (b"PAR1 but not really", Code.CORRUPT)])
def test_a_broken_table_says_why(tmp_path, data, code):
    path = tmp_path / "broken.parquet"
    path.write_bytes(data)
    with pytest.raises(RowError) as caught:
        inspect(str(path), "v1", len(data), Columns(needs=("text",)), Limits())
    assert caught.value.code == code


def test_long_jsonl_is_read_from_remembered_offsets(tmp_path):
    rows = [{"text": f"line {i}"} for i in range(10_000)]
    table = read(write(tmp_path, rows, "jsonl"), Columns(needs=("text",)), 3000)
    assert table["text"].to_pylist() == [row["text"] for row in rows]
