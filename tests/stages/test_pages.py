"""Opening, counting and rendering: two PDF engines and images behind one contract."""

import io
import struct
import time
import zlib

import numpy as np
import pikepdf
import pytest
from papers import A5, born_digital, changed, crop, picture, turn
from PIL import Image

from stages.errors import Code, RowError
from stages.pages import PDF_ENGINES, Size, open_document, sniff

engines = pytest.mark.parametrize("engine", PDF_ENGINES)


OPEN = []


def opened(path, engine="pdfium"):
    OPEN.append(open_document(str(path), engine))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def _closes():
    yield
    while OPEN:
        OPEN.pop().close()


def code_of(action):
    with pytest.raises(RowError) as caught:
        action()
    return caught.value.code


@engines
def test_pages_sizes_and_pixels(tmp_path, engine):
    document = opened(born_digital(tmp_path / "a.pdf", pages=3), engine)
    assert (document.pages, document.engine) == (3, engine)
    assert document.size(3) == Size(width=420, height=595)
    image = document.render(3, dpi=144, max_pixels=10**7)
    assert (image.size, image.mode) == ((840, 1190), "RGB")
    grey = np.asarray(image.convert("L"))
    # Black letters in the line of the first baseline, white paper below the last line.
    assert grey[95:125].min() < 60
    assert grey[700:].min() == 255


@engines
@pytest.mark.parametrize(("degrees", "size"), [(0, (300, 480)), (90, (480, 300)), (180, (300, 480)), (270, (480, 300))])
def test_size_and_rendering_are_of_the_page_as_seen(tmp_path, engine, degrees, size):
    path = changed(changed(born_digital(tmp_path / "a.pdf"), crop(20, 100, 320, 580)), turn(degrees))
    document = opened(path, engine)
    seen = document.size(1)
    assert (seen.width, seen.height) == size
    image = document.render(1, dpi=72, max_pixels=10**7)
    assert image.size == size
    # The lines stand in the upper part of the page; that part turns clockwise with it.
    ink = np.asarray(image.convert("L")) < 128
    y, x = (where.mean() for where in np.nonzero(ink))
    upright = {0: y / 480, 90: 1 - x / 480, 180: 1 - y / 480, 270: x / 480}[degrees]
    assert 0.1 < upright < 0.35


@engines
def test_both_engines_draw_the_same(tmp_path, engine):
    path = born_digital(tmp_path / "a.pdf")
    ink = [np.asarray(opened(path, name).render(1, dpi=50, max_pixels=10**7).convert("L")) for name in PDF_ENGINES]
    blurred = [np.asarray(Image.fromarray(one).resize((30, 42), Image.Resampling.BOX)).astype(int) for one in ink]
    assert np.abs(blurred[0] - blurred[1]).max() < 40


@engines
def test_a_page_too_large_is_told_before_it_is_rendered(tmp_path, engine):
    path = born_digital(tmp_path / "a.pdf", size=(2_000, 14_000))
    document = opened(path, engine)
    start = time.perf_counter()
    assert code_of(lambda: document.render(1, dpi=300, max_pixels=10**8)) == Code.PAGE_TOO_LARGE
    assert time.perf_counter() - start < 1
    assert document.render(1, dpi=18, max_pixels=10**8).size == (500, 3_500)


def test_a_page_that_no_page_can_be_takes_milliseconds(tmp_path):
    def huge(pdf):
        pdf.pages[0].MediaBox = pikepdf.Array([0, 0, 595, 2147483648])

    document = opened(changed(born_digital(tmp_path / "a.pdf"), huge))
    start = time.perf_counter()
    assert code_of(lambda: document.size(1)) == Code.PAGE_TOO_LARGE
    assert code_of(lambda: document.layer(1)) == Code.PAGE_TOO_LARGE
    assert code_of(lambda: document.render(1, dpi=18, max_pixels=10**8)) == Code.PAGE_TOO_LARGE
    assert time.perf_counter() - start < 0.1


@engines
def test_refusals(tmp_path, engine):
    whole = born_digital(tmp_path / "a.pdf").read_bytes()
    cut = tmp_path / "cut.pdf"
    cut.write_bytes(whole[:200])
    noise = tmp_path / "noise.pdf"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    assert code_of(lambda: opened(cut, engine)) == Code.CORRUPT
    assert code_of(lambda: opened(noise, engine)) == Code.CORRUPT
    locked = changed(tmp_path / "a.pdf", lambda pdf: None, encryption=pikepdf.Encryption(owner="o", user="u"))
    assert code_of(lambda: opened(locked, engine)) == Code.PASSWORD_REQUIRED
    document = opened(born_digital(tmp_path / "b.pdf"), engine)
    assert code_of(lambda: document.size(2)) == Code.CORRUPT
    assert code_of(lambda: document.size(0)) == Code.CORRUPT


@engines
def test_an_owner_password_does_not_keep_readers_out(tmp_path, engine):
    path = changed(
        born_digital(tmp_path / "a.pdf"), lambda pdf: None, encryption=pikepdf.Encryption(owner="secret", user="")
    )
    assert "Invoice" in opened(path, engine).layer(1).words.words


def test_kinds_are_told_by_content(tmp_path):
    path = tmp_path / "anything"
    for content, kind in (
        (b"%PDF-1.4 ...", "pdf"),
        (b"junk before it\n%PDF-1.4 ...", "pdf"),
        (b"\x89PNG\r\n\x1a\n....", "image"),
        (b"\xff\xd8\xff\xe0....", "image"),
        (b"II*\0....", "image"),
        (b"RIFF....WEBP....", "image"),
        (b"no signature", "pdf"),
    ):
        path.write_bytes(content)
        assert sniff(str(path)) == kind
    path.write_bytes(b"")
    assert code_of(lambda: sniff(str(path))) == Code.EMPTY
    for content in (b"PK\x03\x04....", b"{\\rtf1", b"  <html>", b"\x1f\x8b...."):
        path.write_bytes(content)
        assert code_of(lambda: sniff(str(path))) == Code.UNSUPPORTED_TYPE


def test_the_suffix_does_not_matter(tmp_path):
    path = tmp_path / "scan.pdf"
    picture().save(path, "PNG")
    assert opened(path).engine == "pillow"


def test_a_tiff_has_pages(tmp_path):
    path = tmp_path / "fax.tiff"
    sheets = [Image.new("1", (100 + i, 50), i % 2) for i in range(3)]
    sheets[0].save(path, save_all=True, append_images=sheets[1:], dpi=(200, 200))
    document = opened(path)
    assert document.pages == 3
    assert [document.size(page).width for page in (3, 1, 2)] == [102, 100, 101]
    assert [document.render(page, dpi=300, max_pixels=10**6).getpixel((0, 0))[0] for page in (1, 2)] == [0, 255]
    assert document.dpi(2, 300) == 200
    assert not document.layer(1).words.words


def test_an_animation_is_one_page(tmp_path):
    path = tmp_path / "a.gif"
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert opened(path).pages == 1


def test_a_photo_is_turned_as_its_camera_says(tmp_path):
    image = Image.new("RGB", (60, 40), "white")
    image.paste("red", (0, 0, 60, 10))  # red along the top; orientation 6 says: turn clockwise to see it
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    image.save(path, exif=exif, quality=95)
    document = opened(path)
    assert document.size(1) == Size(width=40, height=60)
    seen = document.render(1, dpi=300, max_pixels=10**6)
    assert seen.size == (40, 60)
    red, white = seen.getpixel((35, 30)), seen.getpixel((5, 30))
    assert red[1] < 100 < white[1]


def _rendered(image, suffix, **save):
    file = io.BytesIO()
    image.save(file, suffix, **save)
    return file.getvalue()


def _sixteen():
    return Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(8, axis=0))


def _clear():
    image = Image.new("RGBA", (256, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 8))
    return image


@pytest.mark.parametrize(
    ("content", "first", "last"),
    [
        (_rendered(_sixteen(), "PNG"), 0, 255),
        (_rendered(_sixteen(), "TIFF"), 0, 255),
        (_rendered(_clear(), "PNG"), 0, 255),
        (_rendered(_clear().convert("LA"), "PNG"), 0, 255),
        (_rendered(Image.new("CMYK", (256, 8), (0, 0, 0, 0)), "JPEG", quality=95), 255, 255),
        (_rendered(Image.new("CMYK", (256, 8), (0, 0, 0, 255)), "TIFF"), 0, 0),
        (_rendered(Image.new("L", (256, 8), 255).convert("P"), "PNG"), 255, 255),
        (_rendered(Image.new("1", (256, 8), 1), "TIFF", compression="group4"), 255, 255),
        (_rendered(Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(8, 0)), "TIFF"), 0, 255),
    ],
)
def test_every_kind_of_pixel_becomes_rgb_on_white(tmp_path, content, first, last):
    path = tmp_path / "image"
    path.write_bytes(content)
    image = opened(path).render(1, dpi=300, max_pixels=10**6)
    assert (image.mode, image.size) == ("RGB", (256, 8))
    assert image.getpixel((0, 4)) == pytest.approx((first,) * 3, abs=3)
    assert image.getpixel((255, 4)) == pytest.approx((last,) * 3, abs=3)


def test_a_decompression_bomb_is_told_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    content = bytearray(_rendered(Image.new("1", (64, 64)), "PNG"))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    document = opened(path)
    start = time.perf_counter()
    assert document.size(1) == Size(width=60_000, height=60_000)
    assert code_of(lambda: document.render(1, dpi=300, max_pixels=10**8)) == Code.PAGE_TOO_LARGE
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_cut_image_is_corrupt(tmp_path, kind):
    path = tmp_path / "cut"
    whole = _rendered(picture(), kind)
    path.write_bytes(whole[: len(whole) // 2])
    assert code_of(lambda: opened(path).render(1, dpi=300, max_pixels=10**8)) == Code.CORRUPT


def test_a5_is_a5():
    assert Size(width=A5[0], height=A5[1]).pixels(72) == A5
