"""The text layer: the words that a person sees, where they stand, in reading order; and when it is good enough."""

import numpy as np
import pikepdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from papers import A5, LINES, born_digital, changed, crop, mapped, picture, scan, turn
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen import canvas

from stages.pages import PDF_ENGINES, Size, open_document
from stages.text_layer import Evidence, Layer, covered_ink, is_good, shown
from stages.text_order import interleaved, rejoined
from stages.words import Words

engines = pytest.mark.parametrize("engine", PDF_ENGINES)


def layer(path, engine="pdfium", page=1):
    return open_document(str(path), engine).layer(page)


@engines
def test_words_lines_and_text(tmp_path, engine):
    found = layer(born_digital(tmp_path / "a.pdf"), engine)
    assert found.words.text == "\n".join(LINES)
    assert found.words.words == " ".join(LINES).split()
    assert found.size == Size(width=A5[0], height=A5[1])
    assert found.engine == engine
    assert is_good(found)


@engines
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_boxes_are_of_the_page_as_seen(tmp_path, engine, degrees):
    """The ink of each word lies in its box, and no other ink, whatever the page's crop box and rotation."""
    path = changed(
        changed(born_digital(tmp_path / "a.pdf", lines=("Alpha bravo", "Charlie")), crop(20, 100, 320, 580)),
        turn(degrees),
    )
    document = open_document(str(path), engine)
    found = document.layer(1)
    assert sorted(found.words.words) == ["Alpha", "Charlie", "bravo"]
    ink = np.asarray(document.render(1, dpi=200, max_pixels=10**8).convert("L")) < 128
    height, width = ink.shape
    everything = ink.sum()
    inside = np.zeros_like(ink)
    for x0, y0, x1, y1 in found.words.boxes.tolist():
        box = np.s_[
            y0 * height // 1000 - 2 : (y1 + 1) * height // 1000 + 2,
            x0 * width // 1000 - 2 : (x1 + 1) * width // 1000 + 2,
        ]
        assert ink[box].sum() > 0.1 * everything
        inside[box] = True
    assert (ink & inside).sum() == everything


@pytest.mark.parametrize("content", [0, 90, 180, 270])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_lines_are_in_order_however_they_run(tmp_path, content, degrees):
    path = tmp_path / "a.pdf"
    paper = canvas.Canvas(str(path), pagesize=(600, 600))
    paper.translate(300, 300)
    paper.rotate(content)
    for number, line in enumerate(LINES):
        paper.drawString(-250, 200 - 30 * number, line[:10])
        paper.drawString(50, 200 - 30 * number, line[11:])
    paper.save()
    lines = [" ".join(f"{line[:10]} {line[11:]}".split()) for line in LINES]
    assert layer(changed(path, turn(degrees))).words.text == "\n".join(lines)


@engines
def test_what_is_cropped_away_is_not_there(tmp_path, engine):
    path = changed(born_digital(tmp_path / "a.pdf"), crop(0, A5[1] - 100, *A5))
    assert layer(path, engine).words.text == "\n".join(LINES[:2])


def _form(path):
    """A label with a filled field to its right, a note as free text, and a link, which shows nothing."""
    paper = canvas.Canvas(str(path), pagesize=A5)
    paper.drawString(40, 500, "Customer:")
    paper.drawString(40, 470, "Signature:")
    paper.acroForm.textfield(name="who", value="Ada Lovelace", x=120, y=492, width=200, height=24, borderWidth=0)
    paper.acroForm.textfield(name="empty", x=120, y=462, width=200, height=24, borderWidth=0)
    paper.linkURL("http://example.org/hidden", (40, 400, 100, 420))
    paper.save()
    return path


@engines
def test_filled_fields_are_read_behind_their_label(tmp_path, engine):
    found = layer(_form(tmp_path / "form.pdf"), engine)
    assert sorted(found.words.words) == ["Ada", "Customer:", "Lovelace", "Signature:"]
    if engine == "pdfium":
        assert found.words.text == "Customer: Ada Lovelace\nSignature:"
    ada = found.words.words.index("Ada")
    x0, y0, _, y1 = found.words.boxes[ada].tolist()
    assert 280 < x0 < 320
    assert (A5[1] - 520) / A5[1] * 1000 < y0 < y1 < (A5[1] - 490) / A5[1] * 1000


def test_filled_fields_are_drawn(tmp_path):
    document = open_document(str(_form(tmp_path / "form.pdf")), "pdfium")
    ink = np.asarray(document.render(1, dpi=72, max_pixels=10**7).convert("L")) < 128
    assert ink[A5[1] - 516 : A5[1] - 494, 122:200].sum() > 40


def test_hidden_annotations_are_not_read(tmp_path):
    def hide(pdf):
        for annotation in pdf.pages[0].Annots:
            annotation.F = 2

    assert layer(changed(_form(tmp_path / "form.pdf"), hide)).words.words == ["Customer:", "Signature:"]


def test_han_and_kana_are_words_of_their_own(tmp_path):
    pdfmetrics.registerFont(UnicodeCIDFont("HeiseiMin-W3"))
    path = born_digital(tmp_path / "a.pdf", lines=("請求書番号 A4711 です。",), font="HeiseiMin-W3")
    words = layer(path).words
    assert words.words == ["請", "求", "書", "番", "号", "A4711", "で", "す。"]
    assert words.text == "請求書番号 A4711 です。"
    widths = (words.boxes[:5, 2] - words.boxes[:5, 0]).tolist()
    assert all(width == pytest.approx(12 / A5[0] * 1000, abs=4) for width in widths)
    assert (words.boxes[:5, 3] > words.boxes[:5, 1] + 5).all()


@engines
def test_hebrew_comes_in_logical_order(tmp_path, engine):
    # Painted from left to right as the eye sees it: the last letter first.
    path = mapped(tmp_path / "a.pdf", "abcd efg hij", "םולש " + "תיב " + "127")
    assert layer(path, engine).words.words == ["127", "בית", "שלום"]


@engines
def test_arabic_forms_and_ligatures_are_letters(tmp_path, engine):
    path = mapped(tmp_path / "a.pdf", "abc", "ﬁn\ufb04")
    assert layer(path, engine).words.words == ["finffl"]
    assert shown("\ufefb\ufee3") == "لام"


def test_a_word_broken_at_the_lines_end_is_two_as_seen(tmp_path):
    path = born_digital(tmp_path / "a.pdf", lines=("the standard permits an imple-", "mentation of one feature"))
    words = layer(path).words
    assert words.text == "the standard permits an imple-\nmentation of one feature"
    assert words.boxes[4][2] > words.boxes[5][2]


@engines
def test_glyphs_without_meaning_spoil_a_layer(tmp_path, engine):
    path = mapped(tmp_path / "a.pdf", "abcdefgh", "good\ue001\ue002\ue003\ue004")
    found = layer(path, engine)
    assert found.evidence.unmapped == 0.5
    assert not is_good(found)
    assert found.words.words == ["good\ufffd\ufffd\ufffd\ufffd"]


def test_an_empty_page_needs_no_ocr_but_a_drawn_one_does(tmp_path):
    empty = layer(born_digital(tmp_path / "a.pdf", lines=()))
    assert is_good(empty)
    assert not empty.words.words
    path = tmp_path / "drawn.pdf"
    paper = canvas.Canvas(str(path), pagesize=A5)
    paper.circle(100, 100, 50)
    paper.save()
    assert not is_good(layer(path))


@engines
def test_a_scan_is_not_good(tmp_path, engine):
    assert not is_good(layer(scan(tmp_path / "a.pdf", picture()), engine))


@engines
def test_a_stamp_over_a_scan_is_not_good(tmp_path, engine):
    stamp = ("Case 1:20-cv-00123 Document 45 Filed 03/04/21 Page 3 of 20",)
    found = layer(scan(tmp_path / "a.pdf", picture(LINES * 3, size=(1240, 1754)), over=stamp), engine)
    assert found.words.words[:2] == ["Case", "1:20-cv-00123"]
    assert not is_good(found)


def test_a_scanners_own_ocr_is_good_where_it_lies_on_the_ink(tmp_path):
    image = picture(LINES * 2, size=(1240, 1754))
    found = layer(scan(tmp_path / "a.pdf", image, invisible=LINES * 2))
    assert found.evidence.invisible == 1
    assert is_good(found)
    assert found.words.text == "\n".join(LINES * 2)


def test_invisible_text_is_not_good_beside_the_ink_or_without_it_or_as_rubbish(tmp_path):
    image = picture(LINES * 2, size=(1240, 1754))
    two_lines = layer(scan(tmp_path / "beside.pdf", image, invisible=LINES[:2]))
    blank = layer(scan(tmp_path / "blank.pdf", Image.new("L", (600, 850), 255), invisible=LINES))
    rubbish = layer(
        scan(tmp_path / "rubbish.pdf", image, invisible=["~ ;|' .,-_ /\\ ~^ '':; ,,.. --==" for _ in LINES * 2])
    )
    assert [is_good(one) for one in (two_lines, blank, rubbish)] == [False, False, False]


def test_text_around_a_photo_is_good(tmp_path):
    """A page of text with a photo on two fifths of it: the photo's texture is no writing to be covered."""
    y, x = np.mgrid[0:400, 0:600]
    photo = 128 + 60 * np.sin(x / 40) + 40 * np.cos(y / 25) + np.random.default_rng(0).normal(0, 6, x.shape)
    image = Image.fromarray(photo.clip(0, 255).astype(np.uint8))
    path = tmp_path / "a.pdf"
    paper = canvas.Canvas(str(path), pagesize=A4)
    paper.drawInlineImage(image, 0, 0, A4[0], 0.4 * A4[1])
    for line in range(20):
        paper.drawString(40, 800 - 20 * line, f"{line} " + LINES[line % len(LINES)])
    paper.save()
    found = layer(path)
    assert found.evidence.images == pytest.approx(0.4, abs=0.01)
    assert is_good(found)


def test_letters_as_outlines_under_a_header_are_not_good(tmp_path):
    path = tmp_path / "a.pdf"
    paper = canvas.Canvas(str(path), pagesize=A5)
    paper.drawString(40, 570, "Page 1")
    for row in range(12):
        for column in range(40):
            x, y = 40 + 8 * column, 520 - 30 * row
            paper.lines([(x, y, x, y + 9), (x + 4, y, x + 4, y + 9), (x, y + 4, x + 4, y + 4)])
    paper.save()
    assert not is_good(layer(path))


def test_a_ruled_table_is_good(tmp_path):
    path = tmp_path / "a.pdf"
    paper = canvas.Canvas(str(path), pagesize=A5)
    for row in range(20):
        for column in range(10):
            paper.rect(30 + 36 * column, 100 + 22 * row, 36, 22)
    for row in range(8):
        paper.drawString(34, 106 + 22 * row, f"{row}.00")
    paper.save()
    found = layer(path)
    assert found.evidence.drawings >= 200
    assert is_good(found)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_covered_ink_is_the_share_under_boxes(seed, share):
    """Writing-like noise all over, boxes over the upper part: that part is covered."""
    grey = np.where(np.random.default_rng(seed).random((400, 320)) < 0.5, 0, 255).astype(np.uint8)
    boxes = np.array([[0, 0, 1000, int(1000 * share)]], np.int16)
    assert covered_ink(grey, boxes) == pytest.approx(share, abs=0.03)
    assert covered_ink(np.full_like(grey, 255), boxes) is None
    assert covered_ink(grey, np.empty((0, 4), np.int16)) == 0


def _evidence(**change):
    values = {"characters": 900, "unmapped": 0.0, "alphanumeric": 0.9, "invisible": 0.0, "images": 0.0, "drawings": 0}
    return Evidence(**(values | change))


def test_good_pages_are_not_drawn():
    """A thousand born-digital pages must not be rendered to be believed."""

    def never():
        raise AssertionError("drawn")

    for evidence in (_evidence(), _evidence(images=0.2), _evidence(drawings=5000)):
        assert is_good(
            Layer(words=Words.none(), size=Size(width=1, height=1), evidence=evidence, engine="pdfium", ink=never)
        )


boxes_of_words = st.lists(st.tuples(*[st.integers(0, 990)] * 2, *[st.integers(1, 60)] * 2), min_size=1, max_size=12)


@given(boxes_of_words, st.data())
def test_placing_fields_keeps_every_word_and_the_page_in_order(places, data):
    boxes = np.array([[x, y, min(1000, x + w), min(1000, y + h)] for x, y, w, h in places], np.int16)
    first = data.draw(st.integers(0, len(places)))
    steps = data.draw(st.lists(st.integers(0, 1), min_size=len(places), max_size=len(places)))
    words = Words(words=[str(i) for i in range(len(places))], boxes=boxes, lines=np.cumsum(steps).astype(np.int32))
    placed = interleaved(words, first)
    assert sorted(placed.words, key=int) == words.words
    assert [word for word in placed.words if int(word) < first] == words.words[:first]
    assert all((placed.boxes[i] == boxes[int(word)]).all() for i, word in enumerate(placed.words))
    assert (np.diff(placed.lines) >= 0).all()


def test_letters_placed_one_by_one_are_words(tmp_path):
    path = tmp_path / "a.pdf"
    paper = canvas.Canvas(str(path), pagesize=A5)
    for number, (x, y) in enumerate([(100, 400), (130, 390), (160, 380)]):
        # As drawings do: each letter by itself, with the next label in between.
        for letter, shift in (("0", 0), (".", 6.7), (str(number + 2), 10)):
            paper.drawString(x + shift, y, letter)
    paper.save()
    assert layer(path).words.words == ["0.2", "0.3", "0.4"]


@given(boxes_of_words, st.integers(0, 12), st.data())
def test_rejoining_keeps_every_letter_in_order(places, first, data):
    boxes = np.array([[x, y, min(1000, x + w), min(1000, y + h)] for x, y, w, h in places], np.int16)
    steps = data.draw(st.lists(st.integers(0, 1), min_size=len(places), max_size=len(places)))
    words = Words(words=[chr(97 + i) for i in range(len(places))], boxes=boxes, lines=np.cumsum(steps).astype(np.int32))
    first = min(first, len(places))
    joined, moved = rejoined(words, Size(width=600, height=800), first)
    assert "".join(joined.words) == "".join(words.words)
    assert "".join(joined.words[:moved]) == "".join(words.words[:first])
    assert joined.boxes.dtype == np.int16
    assert len(joined.words) == len(joined.boxes) == len(joined.lines)
    assert joined.boxes.min() >= boxes.min()
    assert joined.boxes.max() == boxes.max()


def test_pages_with_links_only_are_left_alone(tmp_path):
    """Links alone do not make the page be flattened and searched twice."""
    path = tmp_path / "a.pdf"
    paper = canvas.Canvas(str(path), pagesize=A5)
    paper.drawString(40, 500, "See the site")
    paper.linkURL("http://example.org", (40, 490, 100, 510))
    paper.save()
    assert layer(path).words.words == ["See", "the", "site"]
    with pikepdf.open(path) as pdf:
        assert len(pdf.pages[0].Annots) == 1
