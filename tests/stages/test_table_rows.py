"""Rows of a table, whatever its row groups, in whichever order slices ask for them."""

from __future__ import annotations

import json
from contextlib import closing
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import table_rows
from stages.base import OpenStages
from stages.settings import Limits
from stages.table_columns import Columns
from stages.table_rows import JsonlRows, ParquetRows
from stages.tables import ReadTable, inspect

ASKED = Columns(needs=("text",), paths={"text": "meta.en"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@given(data=st.data(), groups=st.lists(st.integers(0, 7), min_size=1, max_size=5), at_once=st.integers(1, 5))
def test_any_rows_in_any_order_of_slices(folder, data, groups, at_once):
    rows = [{"other": i, "meta": {"en": f"text {i}"}} for i in range(sum(groups))]
    shape = pa.schema([("other", pa.int64()), ("meta", pa.struct([("en", pa.string())]))])
    table, at = pa.Table.from_pylist(rows, shape), 0
    with pq.ParquetWriter(folder / "rows.parquet", table.schema) as file:
        for count in groups:
            file.write_table(table.slice(at, count), max(count, 1))
            at += count
    slices = st.sets(st.integers(0, max(len(rows) - 1, 0)), min_size=1).map(sorted)
    with patch.object(table_rows, "BATCH_ROWS", at_once), closing(ParquetRows(folder / "rows.parquet", ASKED)) as found:
        for ordinals in data.draw(st.lists(slices, max_size=5)) if rows else ():
            assert found.take(ordinals) == [{"text": f"text {ordinal}"} for ordinal in ordinals]


@given(data=st.data(), count=st.integers(1, 30), stride=st.integers(1, 6))
def test_any_lines_in_any_order_of_slices(folder, data, count, stride):
    lines = [json.dumps({"other": i, "meta": {"en": f"text {i}"}}) + "\n" for i in range(count)]
    (folder / "rows.jsonl").write_text("".join(lines))
    slices = st.sets(st.integers(0, count - 1), min_size=1).map(sorted)
    with patch.object(table_rows, "STRIDE", stride), closing(JsonlRows(folder / "rows.jsonl", ASKED)) as found:
        for ordinals in data.draw(st.lists(slices, max_size=5)):
            offset = sum(map(len, lines[: ordinals[0] // stride * stride]))
            assert found.take(ordinals, offset) == [{"text": f"text {ordinal}"} for ordinal in ordinals]


def slices_of(path, count):
    file = inspect(str(path), "v1", path.stat().st_size, ASKED, Limits())
    table = file.slices([(0, file.rows)], count)
    return [table.slice(at, 1) for at in range(table.num_rows)]


def test_a_row_group_is_decoded_once_for_all_its_slices(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([{"meta": {"en": f"text {i}"}} for i in range(100)]), path)
    iter_batches = pq.ParquetFile.iter_batches
    with (
        patch.object(pq.ParquetFile, "iter_batches", autospec=True, side_effect=iter_batches) as asked,
        closing(OpenStages([ReadTable(columns=ASKED, limits=Limits())])) as stages,
    ):
        texts = [text for one in slices_of(path, 7) for out in stages(one) for text in out["text"].to_pylist()]
    assert texts == [f"text {i}" for i in range(100)]
    assert asked.call_count == 1


def test_a_row_group_that_cannot_be_decoded_leaves_the_others(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = pa.Table.from_pylist([{"meta": {"en": f"text {i}"}} for i in range(30)])
    pq.write_table(rows, path, row_group_size=10, compression="gzip", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + 60 : column.data_page_offset + 90] = b"\0" * 30
    path.write_bytes(content)
    first, second, third = slices_of(path, 10)
    with closing(OpenStages([ReadTable(columns=ASKED, limits=Limits())])) as stages:
        with pytest.raises(OSError):  # noqa: PT011  # whatever zlib says
            list(stages(second))
        for one, begin in ((third, 20), (first, 0)):
            (out,) = stages(one)
            assert out["text"].to_pylist() == [f"text {i}" for i in range(begin, begin + 10)]
