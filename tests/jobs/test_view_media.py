"""The report of outputs of images, recordings and videos: boxes, depths, words and frames are drawn."""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from jobs.record import RunRecord
from jobs.view import view
from pipelines.tasks.depth_estimation import as_png
from stages.columns import results_schema


def output(folder, file, family: str, task: str, answers: dict):
    import hashlib

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    head = {"uri": str(file), "source": "1", "doc_id": digest, "page": 1, "pages": 1, "record": 0}
    tail = {"checkpoint": "tiny", "fingerprint": "f", "run_id": "r", "at": datetime.now(UTC)}
    (folder / "results").mkdir(parents=True)
    (folder / "runs").mkdir()
    table = pa.Table.from_pylist([{**head, **answers, **tail}], results_schema(answers))
    pq.write_table(table, folder / "results" / "a.parquet")
    record = RunRecord(run_id="r", family=family, task=task, status="finished")
    (folder / "runs" / "r.json").write_text(record.to_json())
    return folder


def shown(folder) -> tuple[list[dict], Image.Image]:
    """What is drawn over the first picture, and the picture."""
    html = Path(view(str(folder))).read_text(encoding="utf-8")
    drawing = json.loads(re.search(r'id="drawing">(.*?)</script>', html, re.DOTALL)[1])
    data = re.search(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", html)[1]
    return drawing[0]["marks"], Image.open(io.BytesIO(base64.b64decode(data)))


def test_objects_stand_on_their_image(tmp_path):
    Image.new("RGB", (400, 200), "navy").save(tmp_path / "a.png")
    found = [{"label": "owl", "score": 0.5, "box": [100, 50, 200, 150]}]
    folder = output(tmp_path / "out", tmp_path / "a.png", "owlvit", "zero-shot-object-detection", {"objects": found})
    (mark,), picture = shown(folder)
    assert (mark["label"], mark["boxes"]) == ("owl", [[250, 250, 500, 750]])
    assert picture.size == (400, 200)


def test_depths_stand_below_their_image(tmp_path):
    Image.new("RGB", (60, 40), "white").save(tmp_path / "a.png")
    depth = np.tile(np.linspace(1, 9, 60, dtype=np.float32), (40, 1))
    answers = {"depth_png": as_png(depth, 1, 9), "depth_min": 1.0, "depth_max": 9.0}
    marks, picture = shown(output(tmp_path / "out", tmp_path / "a.png", "glpn", "depth-estimation", answers))
    assert marks == []
    assert picture.size == (60, 80)
    near, far = (np.asarray(picture, int)[60, x] for x in (2, 57))
    assert np.abs(near - far).max() > 50


def test_words_stand_on_the_waveform(tmp_path):
    loud = np.concatenate([np.zeros(8000), np.sin(np.arange(8000) / 3)])
    soundfile.write(tmp_path / "a.wav", loud, 8000)
    times = [{"text": "HELLO", "start": 1.0, "end": 1.5, "score": 0.9}]
    answers = {"text": "HELLO", "score": 0.9, "word_times": times}
    folder = output(tmp_path / "out", tmp_path / "a.wav", "sew_d", "automatic-speech-recognition", answers)
    (mark,), picture = shown(folder)
    assert (mark["text"], mark["boxes"]) == ("HELLO", [[500, 0, 750, 1000]])
    pixels = np.asarray(picture.convert("L"), int)
    assert pixels[20, : picture.width // 2 - 9].min() > 200 > pixels[20, picture.width // 2 + 9 :].max()


def test_a_video_is_a_strip_of_frames(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for step in range(30):
            pixels = np.full((48, 64, 3), 8 * step, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    answers = {"label": "run", "score": 0.9, "scores": [{"label": "run", "score": 0.9}]}
    _, picture = shown(output(tmp_path / "out", tmp_path / "a.mp4", "videomae", "video-classification", answers))
    shades = np.asarray(picture.convert("L"), int).mean(axis=0)
    assert shades[5] < shades[picture.width // 2] < shades[-5]
    assert picture.width > 6 * picture.height
