"""Images on their way to a model: the sizes and pixels of transformers' processors, and what strangers' files do."""

from __future__ import annotations

import io
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papers import born_digital
from PIL import Image, ImageDraw
from transformers import CLIPImageProcessorPil, DPTImageProcessorPil, GLPNImageProcessorPil, ViTImageProcessorPil

from pipelines import Checkpoint
from pipelines.tasks.sight import load_sight
from stages.base import OpenStages
from stages.columns import COLUMNS
from stages.errors import CheckpointError, Code
from stages.image import See
from stages.plan import Plan
from stages.settings import Limits, Render, Settings
from stages.view import View, viewed
from tests.strangers import bomb

SETTINGS = Settings(render=Render(dpi=50, max_pixels=2_000_000, timeout_s=20))
SMALL = View(fit="exact", height=8, width=12)

PROCESSORS = {
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40}),
    "clip, larger crop": CLIPImageProcessorPil(size={"shortest_edge": 31}, crop_size={"height": 40, "width": 47}),
    "clip, crop alone": CLIPImageProcessorPil(do_resize=False, crop_size={"height": 33, "width": 64}),
    "vit": ViTImageProcessorPil(size={"height": 48, "width": 32}),
    "glpn": GLPNImageProcessorPil(),
    "dpt": DPTImageProcessorPil(size={"height": 64, "width": 96}, ensure_multiple_of=14),
    "dpt, in proportion": DPTImageProcessorPil(
        size={"height": 64, "width": 96}, keep_aspect_ratio=True, ensure_multiple_of=14
    ),
}


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    rng = random.Random(seed)
    size = (max(width // 9, 1), max(height // 9, 1))
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, rng.randbytes(size[0] * size[1] * bands)).resize((width, height), 3)


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_view_is_what_transformers_makes_of_an_image(tmp_path, name):
    processor = PROCESSORS[name]
    processor.save_pretrained(tmp_path)
    sight = load_sight(Checkpoint(ref="tiny", path=str(tmp_path), content="0"))

    @settings(max_examples=25, deadline=None)
    @given(st.integers(33, 150), st.integers(33, 150))
    def check(width, height):
        image = noise(width, height)
        ours = viewed(image, sight.view)
        assert ours.shape == (*sight.view.shape(height, width), 3)
        theirs = processor(image, return_tensors="np")["pixel_values"][0]
        assert np.allclose(sight.tensor([ours])[0].numpy(), theirs, atol=1e-6)

    check()


def test_a_processor_that_does_more_is_refused(tmp_path):
    DPTImageProcessorPil(do_pad=True, size_divisor=32).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="DPTImageProcessor"):
        load_sight(Checkpoint(ref="tiny", path=str(tmp_path), content="0"))
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match="no image processor"):
        load_sight(Checkpoint(ref="tiny", path=str(tmp_path / "none"), content="0"))


def encoded(image: Image.Image, format_: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **how)
    return file.getvalue()


def seen(images: list[bytes | None], view: View = SMALL, **changes) -> list[dict]:
    """What ``See`` makes of a table's images."""
    table = pa.table({"image": pa.array(images, COLUMNS["image"].type)})
    stages = OpenStages([See(settings=SETTINGS, view=view, columns={"picture": "image"}, **changes)])
    try:
        return pa.concat_tables(stages(table)).to_pylist()
    finally:
        stages.close()


def pixels_of(row: dict) -> np.ndarray:
    assert row["failure"] is None
    picture = row["picture"]
    return np.frombuffer(picture["pixels"], np.uint8).reshape(picture["height"], picture["width"], 3)


def corners() -> Image.Image:
    """40 × 60 pixels: red, green, blue and grey quarters, so that every turn looks different."""
    image = Image.new("RGB", (60, 40), "red")
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 0, 59, 19), fill=(0, 255, 0))
    draw.rectangle((0, 20, 29, 39), fill=(0, 0, 255))
    draw.rectangle((30, 20, 59, 39), fill=(90, 90, 90))
    return image


def test_every_way_to_store_an_image_shows_the_same():
    image = corners()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: turned clockwise to be seen
    frames = encoded(image, "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40), "white")])
    deep = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    clear = image.convert("RGBA")
    clear.putalpha(Image.new("L", image.size, 255))
    ways = {
        "png": (encoded(image, "PNG"), image),
        "tall": (encoded(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif), image),
        "palette": (encoded(image.convert("P", palette=1), "PNG"), image),
        "frames": (frames, image),
        "cmyk": (encoded(image.convert("CMYK"), "TIFF"), image),
        "16 bits": (encoded(deep, "PNG"), image.convert("L").convert("RGB")),
        "alpha": (encoded(clear, "WEBP", lossless=True), image),
        "grey": (encoded(image.convert("L"), "BMP"), image.convert("L").convert("RGB")),
        "clear": (encoded(Image.new("RGBA", (60, 40), (9, 9, 9, 0)), "PNG"), Image.new("RGB", (60, 40), "white")),
    }
    for (name, (_, wanted)), row in zip(ways.items(), seen([file for file, _ in ways.values()]), strict=True):
        assert np.abs(pixels_of(row).astype(int) - viewed(wanted, SMALL)).max() <= 1, name
        assert (row["picture"]["image_height"], row["picture"]["image_width"]) == (40, 60), name


def test_what_strangers_send_fails_alone_with_its_code():
    whole = encoded(noise(300, 200), "JPEG")
    files = {
        "good": (whole, None),
        "cut": (whole[: len(whole) // 2], Code.CORRUPT),
        "bomb": (bomb(60_000), Code.PAGE_TOO_LARGE),
        "line": (encoded(noise(30_000, 1), "PNG"), None),
        "noise": (random.Random(0).randbytes(5000), Code.CORRUPT),
        "wav": (b"RIFF\0\0\0\0WAVEfmt " + bytes(50), Code.UNSUPPORTED_TYPE),
        "mp4": (b"\0\0\0\x18ftypmp42" + bytes(50), Code.UNSUPPORTED_TYPE),
        "html": (b"<!doctype html>\n<p>not found", Code.UNSUPPORTED_TYPE),
        "again": (whole, None),
    }
    rows = seen([file for file, _ in files.values()])
    codes = [row["failure"] and row["failure"]["code"] for row in rows]
    assert codes == [code and str(code) for _, code in files.values()]
    assert rows[0]["picture"] == rows[-1]["picture"]
    (line,) = seen([files["line"][0]], View(fit="shortest", height=224, crop=(224, 224)))
    assert line["failure"]["code"] == str(Code.PAGE_TOO_LARGE)
    assert "30000 × 1 pixels would become" in line["failure"]["message"]


def test_a_row_without_an_image_has_no_picture():
    row = seen([None])[0]
    assert (row["picture"], row["failure"]) == (None, None)


def test_large_pictures_are_handed_on_in_parts():
    view = View(fit="exact", height=3000, width=4000)
    table = pa.table({"image": pa.array([encoded(corners(), "PNG")] * 3, COLUMNS["image"].type)})
    stages = OpenStages([See(settings=Settings(), view=view, columns={"picture": "image"})])
    parts = [each.num_rows for each in stages(table)]
    stages.close()
    assert parts == [2, 1]


def test_pages_of_documents_are_images_too(tmp_path):
    first, second = corners(), noise(70, 50)
    first.save(tmp_path / "pages.tiff", save_all=True, append_images=[second])
    born_digital(tmp_path / "page.pdf")
    (tmp_path / "large.png").write_bytes(encoded(first, "PNG"))
    paths = sorted(tmp_path.iterdir())
    rows = [
        {"uri": str(path), "source": "1", "size": path.stat().st_size, "kind": "image", "done": []} for path in paths
    ]
    listed = pa.Table.from_pylist(rows, pa.schema([COLUMNS[name].field for name in rows[0]]))
    limits = Settings(render=SETTINGS.render, limits=Limits(file_mb=1))
    stages = OpenStages([Plan(settings=limits), See(settings=limits, view=SMALL)])
    found = {(row["uri"].split("/")[-1], row["page"]): row for row in pa.concat_tables(stages(listed)).to_pylist()}
    stages.close()
    assert sorted(found) == [("large.png", 1), ("page.pdf", 1), ("pages.tiff", 1), ("pages.tiff", 2)]
    assert (pixels_of(found["large.png", 1]) == viewed(first, SMALL)).all()
    assert (pixels_of(found["pages.tiff", 2]) == viewed(second, SMALL)).all()
    page = found["page.pdf", 1]["picture"]
    assert (page["image_height"], page["image_width"]) == (round(595 * 50 / 72), round(420 * 50 / 72))
