"""``jobs.run`` with families that hear and watch: folders with other files among them, and tables."""

from __future__ import annotations

import json
import random

import av
import numpy as np
import pytest
import soundfile
from transformers import pipeline

from jobs import run
from stages.settings import Limits, Predict, Settings
from tests.strangers import hour, no_frames

pytestmark = pytest.mark.usefixtures("ray_local")

SETTINGS = Settings(predict=Predict(dtype="float32"), limits=Limits(seconds=60))


def test_recordings_of_a_folder_and_of_a_table_answer_as_transformers_does(tmp_path, tiny):
    folder = tmp_path / "in"
    folder.mkdir()
    time = np.arange(6000) / 8000
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", 0.3 * np.sin(time * 900 * (number + 1)) * np.sin(5 * time), 8000)
    (folder / "broken.mp3").write_bytes(b"no sound at all")
    (folder / "noise.wav").write_bytes(random.Random(0).randbytes(5000))
    (folder / "cut.wav").write_bytes((folder / "0.wav").read_bytes()[:6000])
    hour(folder / "hour.wav")
    (folder / "rows.jsonl").write_text(json.dumps({"audio": "2.wav"}) + "\n")
    checkpoint = str(tiny("sew_d", "audio-classification"))

    result = run(
        "sew_d", "audio-classification", [str(folder)], str(tmp_path / "out"), checkpoint=checkpoint, settings=SETTINGS
    )
    assert result.exit_code == 3
    assert result.record.errors == {"corrupt": 2, "decode_failed": 1, "too_large": 1}
    assert result.record.documents.balanced
    rows = {row["uri"].split("/")[-1]: row for row in result.rows.to_table().to_pylist()}
    assert sorted(rows) == ["0.wav", "1.wav", "2.wav", "rows.jsonl"]
    classify = pipeline("audio-classification", model=checkpoint, top_k=None)
    for name, row in rows.items():
        samples, rate = soundfile.read(folder / ("2.wav" if name == "rows.jsonl" else name), dtype="float32")
        theirs = classify({"raw": samples, "sampling_rate": rate})
        assert row["label"] == theirs[0]["label"]
        assert row["score"] == pytest.approx(theirs[0]["score"], abs=1e-4)
    again = run(
        "sew_d", "audio-classification", [str(folder)], str(tmp_path / "out"), checkpoint=checkpoint, settings=SETTINGS
    )
    assert again.record.documents.skipped == 8


def test_videos_of_a_folder(tmp_path, tiny):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for step in range(12):
                pixels = np.full((48, 64, 3), 40 + 60 * number, np.uint8)
                pixels[:, 5 * step : 5 * step + 9] = 250
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    (folder / "notes.txt").write_text("no video")
    (folder / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))
    no_frames(folder / "none.mkv")
    checkpoint = str(tiny("videomae", "video-classification"))
    result = run(
        "videomae",
        "video-classification",
        [str(folder)],
        str(tmp_path / "out"),
        checkpoint=checkpoint,
        settings=SETTINGS,
        options={"num_clips": 2, "sample_rate": 2},
    )
    assert result.exit_code == 3
    assert result.record.errors == {"corrupt": 2, "empty": 1}
    rows = result.rows.to_table().to_pylist()
    assert len(rows) == 2
    assert rows[0]["score"] != rows[1]["score"]
    assert all(len(row["scores"]) == 4 for row in rows)
