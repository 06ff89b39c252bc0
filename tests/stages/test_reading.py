"""Reading through the sandbox: which way a page is read, what a failing engine costs, what stages make of it."""

import hashlib
import time
from dataclasses import replace

import numpy as np
import pikepdf
import pyarrow as pa
import pytest
from papers import LINES, born_digital, changed, picture, scan
from PIL.Image import Transpose
from transformers import LayoutLMv2ImageProcessorPil

from stages.base import OpenStages, check_plan
from stages.columns import COLUMNS
from stages.errors import Code, RowError
from stages.plan import Plan
from stages.read import Read, read_fingerprint
from stages.reading import count_pages, draw_page, open_sandbox, read_page
from stages.sandbox import SandboxLimits
from stages.settings import Limits, Ocr, Render, Settings

AUTO = Settings(render=Render(dpi=150))
LAYER, OCR = replace(AUTO, text="layer"), replace(AUTO, text="ocr")


@pytest.fixture(scope="module")
def sandbox():
    opened = open_sandbox(AUTO)
    yield opened
    opened.close()


def test_a_born_digital_page_is_read_from_its_layer(tmp_path, sandbox):
    path = str(born_digital(tmp_path / "a.pdf", pages=2))
    assert count_pages(sandbox, path, AUTO) == 2
    read = read_page(sandbox, path, 2, AUTO)
    assert (read.reader, read.width, read.height) == ("layer:pdfium", 420, 595)
    assert read.words.text == "\n".join(LINES)
    assert read.pixels is None


def test_both_ways_agree_on_words_and_places(tmp_path, sandbox):
    path = str(born_digital(tmp_path / "a.pdf"))
    layer, ocr = (read_page(sandbox, path, 1, settings) for settings in (LAYER, OCR))
    assert ocr.reader == "ocr:tesserocr"
    assert ocr.words.words == layer.words.words
    assert np.abs(ocr.words.boxes - layer.words.boxes).max() <= 6


def test_a_scan_is_read_by_ocr(tmp_path, sandbox):
    path = str(scan(tmp_path / "a.pdf", picture(size=(1240, 1754))))
    read = read_page(sandbox, path, 1, AUTO)
    assert (read.reader, read.words.text.splitlines()) == ("ocr:tesserocr", list(LINES))
    assert not read_page(sandbox, path, 1, LAYER).words.words


def test_every_engine_can_be_chosen(tmp_path, sandbox):
    path = str(born_digital(tmp_path / "a.pdf"))
    other = Settings(render=Render(engine="poppler", dpi=150), ocr=Ocr(engine="pytesseract"))
    layer = read_page(sandbox, path, 1, other)
    ocr = read_page(sandbox, path, 1, replace(other, text="ocr"))
    assert (layer.reader, ocr.reader) == ("layer:poppler", "ocr:pytesseract")
    assert layer.words.words == ocr.words.words == " ".join(LINES).split()


def test_an_image_on_its_side_is_told_with_its_upright_size(tmp_path, sandbox):
    path = tmp_path / "a.png"
    picture().transpose(Transpose.ROTATE_270).save(path)
    read = read_page(sandbox, str(path), 1, AUTO)
    assert (read.reader, read.width, read.height) == ("ocr:tesserocr@270", 1200, 700)
    assert read.words.words == " ".join(LINES).split()


def test_pages_of_a_tiff(tmp_path, sandbox):
    path = tmp_path / "a.tiff"
    sheets = [picture(LINES[:3], mode="L"), picture(LINES[3:], mode="L")]
    sheets[0].save(path, save_all=True, append_images=sheets[1:])
    assert count_pages(sandbox, str(path), AUTO) == 2
    assert read_page(sandbox, str(path), 2, AUTO).words.text.splitlines() == list(LINES[3:])


def test_a_file_that_changes_is_not_taken_for_the_one_before(tmp_path, sandbox):
    path = tmp_path / "a.pdf"
    assert read_page(sandbox, str(born_digital(path)), 1, AUTO).words.words[0] == "Invoice"
    path.unlink()
    assert read_page(sandbox, str(born_digital(path, lines=("Another one",))), 1, AUTO).words.words[0] == "Another"


def test_thumbnails_are_what_transformers_makes_of_the_page(tmp_path, sandbox):
    path = tmp_path / "a.png"
    image = picture(size=(1000, 800))
    image.save(path)
    read = read_page(sandbox, str(path), 1, AUTO, pixels=(224, 224))
    theirs = LayoutLMv2ImageProcessorPil(apply_ocr=False)(image)["pixel_values"][0]
    assert (read.pixels[:, :, ::-1].transpose(2, 0, 1) == np.asarray(theirs)).all()
    layer = read_page(sandbox, str(born_digital(tmp_path / "a.pdf")), 1, AUTO, pixels=(100, 60))
    assert layer.reader == "layer:pdfium"
    assert layer.pixels.shape == (100, 60, 3)


def test_a_page_that_was_read_is_drawn_again_as_it_was(tmp_path, sandbox):
    """Born digital, scanned, and lying on its side: the same pixels without reading anything."""
    lying = tmp_path / "lying.png"
    picture().transpose(Transpose.ROTATE_270).save(lying)
    papers = [born_digital(tmp_path / "a.pdf"), scan(tmp_path / "b.pdf", picture(size=(1240, 1754))), lying]
    for path, way in zip(papers, ("layer:pdfium", "ocr:tesserocr", "ocr:tesserocr@270"), strict=True):
        read = read_page(sandbox, str(path), 1, AUTO, pixels=(60, 40))
        assert read.reader == way
        drawn = draw_page(sandbox, str(path), 1, AUTO, pixels=(60, 40), reader=read.reader)
        assert (drawn == read.pixels).all()
        assert drawn.std() > 1


# ---- what fails


@pytest.fixture(scope="module")
def faulty():
    opened = open_sandbox(AUTO, target="reading_targets:open_faulty", limits=SandboxLimits(memory_mb=300))
    yield opened
    opened.close()


SHORT = replace(AUTO, render=Render(dpi=150, timeout_s=3), ocr=Ocr(timeout_s=4))


@pytest.mark.parametrize(
    ("page", "settings", "code", "limit"),
    [
        (2, SHORT, Code.RENDER_TIMEOUT, 3),
        (2, replace(SHORT, text="ocr"), Code.RENDER_TIMEOUT, 3),
        (4, AUTO, Code.CRASH, None),
        (5, AUTO, Code.OUT_OF_MEMORY, None),
        (6, replace(SHORT, text="ocr"), Code.OCR_TIMEOUT, 4),
        (7, AUTO, Code.CRASH, None),
        (9, AUTO, Code.CORRUPT, None),
    ],
    ids=["hangs", "hangs in rendering", "dies", "eats memory", "hangs in ocr", "lies", "is not there"],
)
def test_a_page_fails_alone(tmp_path, faulty, page, settings, code, limit):
    path = str(born_digital(tmp_path / "a.pdf", pages=8))
    assert count_pages(faulty, path, settings) == 8
    start = time.perf_counter()
    with pytest.raises(RowError) as caught:
        read_page(faulty, path, page, settings)
    seconds = time.perf_counter() - start
    assert caught.value.code == code
    assert "\n" not in caught.value.message
    if limit:
        assert limit <= seconds < limit + 2
    assert read_page(faulty, path, 1, AUTO).words.words[0] == "Invoice"


def test_a_crash_in_one_engine_is_saved_by_the_other(tmp_path, faulty):
    path = str(born_digital(tmp_path / "a.pdf", pages=8))
    assert read_page(faulty, path, 3, AUTO).reader == "layer:poppler"
    assert read_page(faulty, path, 3, OCR).reader == "ocr:tesserocr"


def test_the_other_engine_is_tried_on_what_the_first_refuses(tmp_path):
    refusing = open_sandbox(AUTO, target="reading_targets:open_refusing")
    path = str(born_digital(tmp_path / "a.pdf"))
    assert count_pages(refusing, path, AUTO) == 1
    assert read_page(refusing, path, 1, AUTO).reader == "layer:poppler"
    locked = str(born_digital(tmp_path / "locked.pdf"))
    for action in (lambda: count_pages(refusing, locked, AUTO), lambda: read_page(refusing, locked, 1, AUTO)):
        with pytest.raises(RowError) as caught:
            action()
        assert caught.value.code == Code.PASSWORD_REQUIRED
        assert "pdfium refuses" in caught.value.detail
    refusing.close()


# ---- as stages


def _listed(*paths, done=None):
    rows = [
        {
            "uri": str(path),
            "source": "s",
            "size": path.stat().st_size if path.exists() else 7,
            "kind": "pdf",
            "done": done,
        }
        for path in paths
    ]
    return pa.table({name: pa.array([row[name] for row in rows], COLUMNS[name].type) for name in rows[0]})


def _run(table, *stages):
    opened = OpenStages(stages)
    try:
        return pa.concat_tables(list(opened(table)))
    finally:
        opened.close()


def test_plan_gives_one_row_a_page_that_is_not_done(tmp_path):
    path = born_digital(tmp_path / "a.pdf", pages=4)
    planned = _run(_listed(path, done=[1, 3]), Plan(settings=AUTO))
    assert planned["page"].to_pylist() == [2, 4]
    assert set(planned["pages"].to_pylist()) == {4}
    assert set(planned["doc_id"].to_pylist()) == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert planned["failure"].null_count == 2
    assert "done" not in planned.column_names


def test_plan_gives_each_bad_document_one_row_with_its_reason(tmp_path):
    good = born_digital(tmp_path / "good.pdf")
    locked = changed(
        born_digital(tmp_path / "locked.pdf"), lambda pdf: None, encryption=pikepdf.Encryption(owner="o", user="u")
    )
    broken, empty, office = (tmp_path / name for name in ("broken.pdf", "empty.pdf", "office.pdf"))
    broken.write_bytes(good.read_bytes()[:300])
    empty.touch()
    office.write_bytes(b"PK\x03\x04" + bytes(100))
    long = born_digital(tmp_path / "long.pdf", pages=3)
    gone = tmp_path / "gone.pdf"
    settings = replace(AUTO, limits=Limits(pages=2))
    planned = _run(_listed(good, locked, broken, empty, office, long, gone), Plan(settings=settings))
    codes = {row["uri"].rpartition("/")[2]: row["failure"] and row["failure"]["code"] for row in planned.to_pylist()}
    assert codes == {
        "good.pdf": None,
        "locked.pdf": "password_required",
        "broken.pdf": "corrupt",
        "empty.pdf": "empty",
        "office.pdf": "unsupported_type",
        "long.pdf": "too_large",
        "gone.pdf": "not_found",
    }
    assert all(row["page"] is None and row["pages"] is None for row in planned.to_pylist() if row["failure"])


def test_read_fills_the_columns_and_keeps_failed_rows(tmp_path):
    path = born_digital(tmp_path / "a.pdf", pages=4)
    read = Read(settings=replace(AUTO, text="layer"), target="reading_targets:open_faulty", pixels=(20, 10))
    plan = Plan(settings=AUTO)
    table = _run(_listed(path, done=[2]), plan, read)
    assert set(check_plan(plan.reads, [])) <= set(_listed(path).column_names)
    for name in read.writes:
        assert table.schema.field(name).type == COLUMNS[name].type
    assert table["page"].to_pylist() == [1, 3, 4]
    assert table["reader"].to_pylist() == ["layer:pdfium", "layer:poppler", None]
    assert [failure and failure["code"] for failure in table["failure"].to_pylist()] == [None, None, "crash"]
    first, other, failed = table.to_pylist()
    assert first["words"] == other["words"] == " ".join(LINES).split()
    assert [len(box) for box in first["boxes"]] == [4] * len(first["words"])
    assert failed["words"] is failed["boxes"] is failed["pixels"] is None
    assert len(first["pixels"]) == 20 * 10 * 3


def test_pytesseract_through_the_stage_is_transformers_ocr(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    table = _run(_listed(path), Plan(settings=AUTO), Read(settings=Settings(ocr=Ocr(engine="pytesseract"))))
    theirs = LayoutLMv2ImageProcessorPil()(picture())
    assert table["words"].to_pylist() == theirs["words"]
    assert table["boxes"].to_pylist() == theirs["boxes"]


def test_the_fingerprint_tells_readings_apart():
    changes = {
        "text": replace(AUTO, text="ocr"),
        "engine": replace(AUTO, render=Render(dpi=150, engine="poppler")),
        "dpi": replace(AUTO, render=Render(dpi=200)),
        "ocr engine": replace(AUTO, ocr=Ocr(engine="pytesseract")),
        "lang": replace(AUTO, ocr=Ocr(lang="eng+osd")),
        "psm": replace(AUTO, ocr=Ocr(psm=6)),
        "layer": LAYER,
    }
    prints = {read_fingerprint(settings) for settings in (AUTO, *changes.values())}
    assert len(prints) == 1 + len(changes)
    patient = replace(AUTO, render=Render(dpi=150, timeout_s=7), ocr=Ocr(timeout_s=7))
    assert read_fingerprint(patient) == read_fingerprint(AUTO)
    assert read_fingerprint(replace(LAYER, ocr=Ocr(psm=6))) == read_fingerprint(LAYER)
