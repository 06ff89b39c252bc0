"""OCR: both engines against the page's own words, exact equality with transformers, pages that lie on their side."""

import numpy as np
import pytest
from papers import LINES, picture
from PIL import Image
from PIL.Image import Transpose
from transformers import LayoutLMv2ImageProcessorPil

from stages.errors import UsageError
from stages.ocr import ENGINES, check_languages, language_files, open_engine, tessdata
from stages.settings import Ocr, Settings

TURNED = {0: None, 90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}


@pytest.fixture(scope="module")
def engines():
    return {name: open_engine(name, Ocr()) for name in ENGINES}


@pytest.mark.parametrize("engine", ENGINES)
def test_words_boxes_and_lines(engines, engine):
    image = picture()
    reading = engines[engine].read(image, 300)
    assert reading.words.text.splitlines() == list(LINES)
    assert reading.turned == 0
    assert reading.confidence > 0.8
    ink = np.asarray(image.convert("L")) < 128
    height, width = ink.shape
    for x0, y0, x1, y1 in reading.words.boxes.tolist():
        assert ink[y0 * height // 1000 : y1 * height // 1000 + 2, x0 * width // 1000 : x1 * width // 1000 + 2].any()
    middles = (reading.words.boxes[:, 1] + reading.words.boxes[:, 3]) / 2 / 1000 * height
    expected = np.repeat([40 + 18 + 93 * i for i in range(6)], [len(line.split()) for line in LINES])
    assert np.abs(middles - expected).max() < 20


@pytest.mark.parametrize(
    "image",
    [
        picture(),
        picture(background=200, ink=90),
        picture(LINES[:3], size=(900, 500), points=20),
        Image.new("RGB", (300, 200), "white"),
    ],
    ids=["clear", "faint", "small", "blank"],
)
def test_pytesseract_gives_exactly_what_transformers_reads(engines, image):
    theirs = LayoutLMv2ImageProcessorPil()(image)
    ours = engines["pytesseract"].read(image, 300)
    assert [ours.words.words] == theirs["words"]
    assert [ours.words.boxes.tolist()] == theirs["boxes"]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_page_on_its_side_or_head_is_read_upright(engines, degrees):
    upright = engines["tesserocr"].read(picture(), 300)
    reading = engines["tesserocr"].read(picture().transpose(TURNED[degrees]), 300)
    assert reading.turned == 360 - degrees
    assert reading.image.size == upright.image.size
    assert reading.words.words == upright.words.words
    assert np.abs(reading.words.boxes - upright.words.boxes).max() <= 2


def test_faint_print_between_dark_edges_is_read(engines):
    image = picture(background=238, ink=208)
    image.paste((0, 0, 0), (0, 0, 1200, 14))
    image.paste((0, 0, 0), (0, 686, 1200, 700))
    image.paste((0, 0, 0), (0, 0, 10, 700))
    words = engines["tesserocr"].read(image, 300).words.words
    found = set(words) & set(" ".join(LINES).split())
    assert len(found) > 30


def test_a_blank_or_black_page_has_no_words(engines):
    for shade in ("white", "black"):
        reading = engines["tesserocr"].read(Image.new("RGB", (800, 600), shade), 300)
        assert not reading.words.words
        assert reading.words.boxes.shape == (0, 4)
        assert reading.words.text == ""


def test_the_same_page_twice_reads_the_same(engines):
    first, _, again = (
        engines["tesserocr"].read(image, 300).words for image in (picture(), picture(LINES[3:]), picture())
    )
    assert first.words == again.words
    assert (first.boxes == again.boxes).all()


def test_page_segmentation_is_passed_on():
    sparse = [open_engine(name, Ocr(psm=11)).read(picture(), 300) for name in ENGINES]
    assert all("Invoice" in reading.words.words for reading in sparse)


def test_missing_language_data_names_the_package():
    with pytest.raises(UsageError, match=r"apt-get install tesseract-ocr-xxx tesseract-ocr-chi-yyy$"):
        check_languages(Settings(ocr=Ocr(lang="eng+xxx+chi_yyy")))
    check_languages(Settings(ocr=Ocr(lang="xxx"), text="layer"))
    check_languages(Settings())
    assert [file.name for file in language_files("eng+osd")] == ["eng.traineddata", "osd.traineddata"]


def test_language_data_is_looked_for_where_it_is_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    assert tessdata() == tmp_path
    with pytest.raises(UsageError, match="there: none"):
        language_files("eng")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"gone is no folder.*apt-get install tesseract-ocr$"):
        tessdata()


def test_a_missing_program_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="apt-get install tesseract-ocr"):
        check_languages(Settings(ocr=Ocr(engine="pytesseract")))
