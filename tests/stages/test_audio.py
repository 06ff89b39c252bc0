"""Recordings on their way to a model: every format to mono samples at one rate, and what strangers' files do."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
import soundfile
import soxr

from stages.audio import Hear
from stages.base import OpenStages
from stages.columns import COLUMNS
from stages.errors import Code
from stages.settings import Limits, Render, Settings
from stages.takes import Sound
from tests.strangers import hour

SETTINGS = Settings(limits=Limits(seconds=20), render=Render(timeout_s=20))
RATE = 8000


def tone(seconds: float = 1.0, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    waves = [0.4 * np.sin(2 * np.pi * 220 * (n + 1) * time) * np.sin(3 * time) for n in range(channels)]
    return np.stack(waves, axis=1).astype(np.float32)


def aac(path: Path, samples: np.ndarray, rate: int) -> Path:
    """A recording in MP4, which libsndfile does not open."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def heard(paths, settings=SETTINGS) -> list[dict]:
    rows = [{"uri": str(path), "size": None, "done": []} for path in paths]
    schema = pa.schema([COLUMNS[name].field for name in ("uri", "size", "done")])
    stages = OpenStages([Hear(settings=settings, takes=Sound(rate=RATE))])
    try:
        return pa.concat_tables(stages(pa.Table.from_pylist(rows, schema))).to_pylist()
    finally:
        stages.close()


def samples_of(row: dict) -> np.ndarray:
    assert row["failure"] is None
    assert row["sound"]["rate"] == RATE
    return np.frombuffer(row["sound"]["samples"], np.float32)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "how", "tolerance"),
    [
        ("a.wav", 16_000, 1, {"subtype": "PCM_16"}, 1e-3),
        ("a.wav", 44_100, 2, {"subtype": "PCM_24"}, 1e-4),
        ("a.wav", 8000, 3, {"subtype": "FLOAT"}, 1e-6),
        ("a.wav", 8000, 1, {"subtype": "ULAW"}, 0.02),
        ("a.flac", 22_050, 1, {}, 1e-3),
        ("a.ogg", 16_000, 1, {}, 0.05),
        ("a.opus", 48_000, 2, {"format": "OGG", "subtype": "OPUS"}, 0.1),
        ("a.mp3", 44_100, 1, {}, 0.2),
    ],
)
def test_every_format_becomes_mono_at_the_rate(tmp_path, name, rate, channels, how, tolerance):
    samples = tone(1.5, rate, channels)
    soundfile.write(tmp_path / name, samples, rate, **how)
    ours = samples_of(heard([tmp_path / name])[0])
    wanted = soxr.resample(samples.mean(axis=1), rate, RATE)
    count = min(len(ours), len(wanted))
    assert count > 0.95 * len(wanted)
    if name.endswith(("mp3", "opus")):  # their encoders shift phases
        assert loudness(ours) == pytest.approx(loudness(wanted), abs=0.02)
        assert pitch(ours) == pytest.approx(pitch(wanted), abs=2)
    else:
        assert np.abs(ours[:count] - wanted[:count]).max() < tolerance


def test_what_libsndfile_does_not_open_ffmpeg_does(tmp_path):
    ours = samples_of(heard([aac(tmp_path / "a.m4a", tone(2), 16_000)])[0])
    wanted = tone(2, RATE)[:, 0]
    assert abs(len(ours) - len(wanted)) < 4000
    assert loudness(ours) == pytest.approx(loudness(wanted), abs=0.02)
    assert pitch(ours) == pytest.approx(pitch(wanted), abs=2)


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt((samples**2).mean()))


def pitch(samples: np.ndarray) -> float:
    """Hz of the strongest tone."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


def test_what_strangers_send_fails_alone_with_its_code(tmp_path):
    soundfile.write(tmp_path / "good.wav", tone(), 16_000)
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "silent.wav", np.zeros((0, 1)), 16_000)
    (tmp_path / "noise.wav").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / "page.wav").write_bytes(b"%PDF-1.7 " + bytes(99))
    hour(tmp_path / "hour.wav")
    soundfile.write(tmp_path / "nan.wav", np.full((99, 1), np.nan), RATE, subtype="FLOAT")
    wanted = {
        "good.wav": None,
        "cut.wav": Code.DECODE_FAILED,
        "empty.wav": Code.EMPTY,
        "silent.wav": Code.EMPTY,
        "noise.wav": Code.CORRUPT,
        "page.wav": Code.UNSUPPORTED_TYPE,
        "hour.wav": Code.TOO_LARGE,
        "nan.wav": Code.DECODE_FAILED,
        "gone.wav": Code.NOT_FOUND,
    }
    rows = heard([tmp_path / name for name in wanted])
    codes = {name: row["failure"] and row["failure"]["code"] for name, row in zip(wanted, rows, strict=True)}
    assert codes == {name: code and str(code) for name, code in wanted.items()}
    assert (rows[0]["page"], rows[0]["pages"], len(rows[0]["doc_id"])) == (1, 1, 64)
    assert rows[1]["page"] is None


def test_a_long_recording_comes_in_parts(tmp_path):
    soundfile.write(tmp_path / "long.wav", tone(2500, RATE), RATE, subtype="PCM_16")  # 20 million samples
    row = heard([tmp_path / "long.wav"], Settings(limits=Limits(seconds=3600)))[0]
    assert len(samples_of(row)) == 2500 * RATE
    assert np.abs(samples_of(row)[-RATE:] - tone(2500, RATE)[-RATE:, 0]).max() < 1e-3
