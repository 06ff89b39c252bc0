"""Pixels for tasks that look at pages: of pages read before, and of a table's images, which are OCR'd where needed."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from papers import LINES, born_digital, picture
from transformers import LayoutLMv2ImageProcessorPil

from stages.base import OpenStages, check_plan
from stages.base import Pool as Operator
from stages.columns import COLUMNS, MADE_OF
from stages.draw import Draw, Look
from stages.errors import Code, UsageError
from stages.reading import open_sandbox, read_page
from stages.settings import Limits, Ocr, Render, Settings
from stages.table_columns import Columns
from stages.tables import ReadTable, inspect

SETTINGS = Settings(render=Render(dpi=150), ocr=Ocr(engine="pytesseract"))
PAGE = {"words": ["Total", "9"], "boxes": [[0, 0, 9, 9], [10, 0, 20, 9]]}
NEEDS = ("words", "boxes", "pixels")
ASKED = Columns(needs=NEEDS, instead={name: MADE_OF[name] for name in NEEDS})
SIZE = (224, 224)


def png(image=None) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, "PNG")
    return file.getvalue()


def written(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def looked(path, columns=ASKED, fills=NEEDS, **changes):
    file = inspect(str(path), "v1", path.stat().st_size, columns, Limits())
    look = Look(**{"settings": SETTINGS, "fills": fills, "pixels": SIZE, **changes})
    read = ReadTable(columns=columns, limits=Limits())
    check_plan(("uri", "source", "doc_id", "pages"), [Operator(stages=(read, look))])
    stages = OpenStages([read, look])
    try:
        return pa.concat_tables(out for one in [file.slices([(0, file.rows)], 100)] for out in stages(one))
    finally:
        stages.close()


@pytest.fixture(scope="module")
def processor():
    return LayoutLMv2ImageProcessorPil()(picture())


def same_pixels(value: bytes, processor) -> bool:
    ours = np.frombuffer(value, np.uint8).reshape(*SIZE, 3)
    return bool((ours[:, :, ::-1].transpose(2, 0, 1) == np.asarray(processor["pixel_values"][0])).all())


def test_given_words_stay_and_missing_ones_are_read_as_transformers_processor_reads_them(tmp_path, processor):
    path = written(tmp_path / "a.parquet", [{**PAGE, "image": png()}, {"image": png()}])
    with pytest.raises(UsageError, match=r"no column 'pixels' and no 'image' to make it of.*--map image="):
        inspect(str(written(tmp_path / "b.parquet", [PAGE])), "v1", 1, ASKED, Limits())
    given, _ = looked(path).to_pylist()
    assert {name: given[name] for name in PAGE} == PAGE
    assert same_pixels(given["pixels"], processor)
    alone = looked(written(tmp_path / "c.parquet", [{"image": png()}]))
    assert "image" not in alone.column_names
    for name in NEEDS:
        assert alone.schema.field(name).type == COLUMNS[name].type
    row = alone.to_pylist()[0]
    assert (row["words"], row["boxes"]) == (processor["words"][0], processor["boxes"][0])
    assert same_pixels(row["pixels"], processor)


def test_an_image_may_be_a_path_from_its_table_on(tmp_path, processor):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.png").write_bytes(png())
    whole = str(tmp_path / "scans" / "a.png")
    rows = [{**PAGE, "image": "scans/a.png"}, {**PAGE, "image": whole}, {**PAGE, "image": "scans/none.png"}]
    first, second, missing = looked(written(tmp_path / "a.jsonl", rows)).to_pylist()
    assert same_pixels(first["pixels"], processor)
    assert second["pixels"] == first["pixels"]
    assert missing["failure"]["code"] == str(Code.NOT_FOUND)


def test_rows_fail_alone(tmp_path):
    rows = [{**PAGE, "image": png()}, {**PAGE, "image": b"\x89PNG\r\n\x1a\n broken"}, {**PAGE, "image": None}]
    table = looked(written(tmp_path / "a.parquet", rows))
    codes = [row["failure"] and row["failure"]["code"] for row in table.to_pylist()]
    assert codes == [None, str(Code.CORRUPT), str(Code.ENCODE_FAILED)]
    assert "'image' is null" in table["failure"].to_pylist()[2]["message"]


def test_a_task_that_reads_words_alone_needs_no_image(tmp_path):
    words = Columns(needs=("words", "boxes"), instead={name: MADE_OF[name] for name in ("words", "boxes")})
    table = looked(written(tmp_path / "a.parquet", [PAGE]), words, ("words", "boxes"), pixels=None)
    assert table["words"].to_pylist() == [PAGE["words"]]
    read = looked(written(tmp_path / "b.parquet", [{"image": png()}]), words, ("words", "boxes"), pixels=None)
    assert read["words"].to_pylist() == [" ".join(LINES).split()]


def test_a_task_that_reads_the_image_keeps_it(tmp_path):
    both = replace(ASKED, optional=("image",))
    table = looked(written(tmp_path / "a.parquet", [{**PAGE, "image": png()}]), both, keep=True)
    assert table["image"].to_pylist() == [png()]


def test_pages_read_before_are_drawn(tmp_path):
    path = born_digital(tmp_path / "a.pdf", pages=2)
    names = ["uri", "page", "reader"]
    values = [(str(path), 2, "layer:pdfium"), (str(tmp_path / "gone.pdf"), 1, "layer:pdfium")]
    rows = pa.Table.from_pylist([dict(zip(names, value, strict=True)) for value in values])
    stages = OpenStages([Draw(settings=SETTINGS, pixels=(30, 20))])
    drawn, gone = pa.concat_tables(stages(rows.cast(pa.schema([COLUMNS[name].field for name in names])))).to_pylist()
    stages.close()
    sandbox = open_sandbox(SETTINGS)
    wanted = read_page(sandbox, str(path), 2, SETTINGS, pixels=(30, 20)).pixels
    sandbox.close()
    assert drawn["pixels"] == wanted.tobytes()
    assert (gone["pixels"], gone["failure"]["code"]) == (None, str(Code.NOT_FOUND))
