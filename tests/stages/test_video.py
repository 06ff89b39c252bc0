"""Videos on their way to a model: which frames, how they are turned, and what strangers' files do."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image

from stages.base import OpenStages
from stages.columns import COLUMNS
from stages.errors import Code
from stages.settings import Limits, Render, Settings
from stages.takes import Clips
from stages.video import Watch
from stages.video_child import chosen
from stages.view import View
from tests.strangers import no_frames

SETTINGS = Settings(limits=Limits(seconds=20), render=Render(timeout_s=20, max_pixels=100_000))
VIEW = View(fit="exact", height=16, width=24)


def shade(number: int) -> np.ndarray:
    """48 × 32 pixels, grey by number, with a bright corner at the top left."""
    frame = np.full((32, 48, 3), 20 + 4 * number % 200, np.uint8)
    frame[:8, :12] = 255
    return frame


def video(path: Path, count: int, rate: int = 10, codec: str = "mpeg4", times: list[int] | None = None) -> Path:
    """``count`` frames that get lighter; ``times`` are their ticks where the rate varies."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(shade(number), format="rgb24")
            frame.pts, frame.time_base = (times or range(count))[number], Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(path: Path) -> Path:
    """The video with a display matrix of 90°, as a camera held upright writes it."""
    data = path.read_bytes()
    words = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000]
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    identity, matrix = (b"".join(one.to_bytes(4, "big", signed=True) for one in each) for each in (words, quarter))
    head = data.index(b"tkhd")
    at = data.index(identity, head)
    path.write_bytes(data[:at] + matrix + data[at + len(identity) :])
    return path


def watched(paths, clips: Clips, settings=SETTINGS) -> list[dict]:
    rows = [{"uri": str(path), "size": None, "done": []} for path in paths]
    schema = pa.schema([COLUMNS[name].field for name in ("uri", "size", "done")])
    stages = OpenStages([Watch(settings=settings, takes=clips)])
    try:
        return pa.concat_tables(stages(pa.Table.from_pylist(rows, schema))).to_pylist()
    finally:
        stages.close()


def frames_of(row: dict) -> np.ndarray:
    assert row["failure"] is None
    value = row["clips"]
    shape = value["clips"], value["count"], value["height"], value["width"], 3
    return np.frombuffer(value["frames"], np.uint8).reshape(shape)


def numbers_of(row: dict) -> list[list[int]]:
    """Which frames these are, by their shade at the right."""
    means = frames_of(row)[:, :, :, 14:].mean(axis=(2, 3, 4))
    return np.rint((means - 20) / 4).astype(int).tolist()


@pytest.mark.parametrize(
    ("codec", "name"), [("mpeg4", "a.mp4"), ("libx264", "a.mkv"), ("libvpx", "a.webm"), ("mpeg4", "a.avi")]
)
def test_clips_are_the_frames_that_were_asked_for(tmp_path, codec, name):
    path = video(tmp_path / name, 40, codec=codec)
    (row,) = watched([path], Clips(view=VIEW, frames=4, every=3, clips=2))
    wanted = chosen(40, 4, 3, 2)
    assert wanted == [[9, 12, 16, 20], [18, 21, 25, 29]]
    assert np.abs(np.array(numbers_of(row)) - wanted).max() <= (0 if codec == "libx264" else 1)  # the others lose more
    assert (row["page"], row["pages"]) == (1, 1)


@pytest.mark.parametrize(
    ("total", "wanted"), [(100, [48, 49, 50, 51]), (4, [0, 1, 2, 3]), (2, [0, 0, 0, 1]), (1, [0, 0, 0, 0])]
)
def test_a_short_video_repeats_frames(total, wanted):
    assert chosen(total, 4, 1, 1) == [wanted]


def test_a_variable_rate_is_sampled_by_time(tmp_path):
    slow_then_fast = [*range(0, 100, 10), *range(100, 120)]  # 10 frames, one a second, then 20 a tenth apart
    path = video(tmp_path / "a.mkv", 30, codec="libx264", times=slow_then_fast)
    (row,) = watched([path], Clips(view=VIEW, frames=4, every=1000, clips=1))
    assert numbers_of(row) == [[0, 3, 7, 29]]  # shown at 0, 3.9, 7.9 and 11.9 of 12 seconds


def test_frames_are_turned_as_the_camera_was_held(tmp_path):
    flat, upright = video(tmp_path / "a.mp4", 5), turned(video(tmp_path / "b.mp4", 5))
    own = Clips(view=View(), frames=1, every=1, clips=1)
    wanted, ours = (frames_of(row)[0, 0] for row in watched([flat, upright], own))
    assert wanted.shape == (32, 48, 3)
    assert np.array_equal(ours, np.asarray(Image.fromarray(wanted).transpose(Image.Transpose.ROTATE_270)))


def test_what_strangers_send_fails_alone_with_its_code(tmp_path):
    good = video(tmp_path / "good.mp4", 40)
    whole = good.read_bytes()
    long = video(tmp_path / "long.mp4", 250)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    film = video(tmp_path / "film.mkv", 100).read_bytes()
    (tmp_path / "short.mkv").write_bytes(film[: len(film) // 3])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / "page.mp4").write_bytes(b"%PDF-1.7 " + bytes(99))
    soundfile.write(tmp_path / "song.wav", np.zeros(999), 8000)
    (tmp_path / "song.wav").rename(tmp_path / "song.mp4")
    no_frames(tmp_path / "none.mkv")
    for kind in ("png", "jpeg", "webp"):
        Image.new("RGB", (48, 32), "red").save(tmp_path / f"{kind}.mp4", kind)
    wanted = {
        good.name: None,
        long.name: Code.TOO_LARGE,
        "cut.mp4": Code.CORRUPT,
        "short.mkv": Code.DECODE_FAILED,
        "empty.mp4": Code.EMPTY,
        "noise.mp4": Code.CORRUPT,
        "page.mp4": Code.UNSUPPORTED_TYPE,
        "song.mp4": Code.UNSUPPORTED_TYPE,
        "none.mkv": Code.EMPTY,
        "png.mp4": Code.UNSUPPORTED_TYPE,
        "jpeg.mp4": Code.UNSUPPORTED_TYPE,
        "webp.mp4": Code.UNSUPPORTED_TYPE,
    }
    rows = watched([tmp_path / name for name in wanted], Clips(view=VIEW, frames=2, every=1, clips=1))
    codes = {name: row["failure"] and row["failure"]["code"] for name, row in zip(wanted, rows, strict=True)}
    assert codes == {name: code and str(code) for name, code in wanted.items()}
    small = Settings(render=Render(max_pixels=1000))
    (row,) = watched([good], Clips(view=VIEW, frames=2, every=1, clips=1), small)
    assert row["failure"]["code"] == str(Code.PAGE_TOO_LARGE)
