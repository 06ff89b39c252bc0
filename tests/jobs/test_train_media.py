"""manta train on images, recordings and videos: files to what the model takes, once; a model made of two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from jobs.train import train
from jobs.training.data import Encoded
from jobs.training.encode import Encode, find_tables
from jobs.training.settings import Train
from jobs.ways_in import from_table
from pipelines import task
from pipelines.checkpoint import resolve
from stages.base import OpenStages
from stages.predictor import Predictor
from stages.settings import Predict, Settings
from tests.pipelines.two_parts import write_vit

Write = Callable[[Path, int], str]


def image(folder: Path, number: int) -> str:
    Image.new("RGB", (50 + number, 40), ["red", "green", "blue"][number % 3]).save(folder / f"{number}.png")
    return f"{number}.png"


def sound(folder: Path, number: int) -> str:
    time = np.arange(4000) / 8000
    soundfile.write(folder / f"{number}.wav", 0.3 * np.sin(time * 900 * (number + 1)), 8000)
    return f"{number}.wav"


def video(folder: Path, number: int) -> str:
    with av.open(str(folder / f"{number}.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for step in range(8):
            pixels = np.full((48, 64, 3), 20 * step + 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return f"{number}.mp4"


def table(folder: Path, column: str, make: Write, answers: list[dict[str, str]]) -> str:
    """A JSONL table that names files beside it."""
    folder.mkdir(exist_ok=True)
    rows = [{column: make(folder, number), **answer} for number, answer in enumerate(answers)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("family", "name", "column", "make", "answer"),
    [
        ("git", "image-captioning", "image", image, {"text": "the red street"}),
        ("sew_d", "audio-classification", "audio", sound, {"label": "1"}),
        ("videomae", "video-classification", "video", video, {"label": "1"}),
    ],
    ids=["image", "audio", "video"],
)
def test_files_are_encoded_in_the_size_that_the_model_takes(tiny, tmp_path, family, name, column, make, answer):
    def described():
        return task(family, name)(resolve(str(tiny(family, name))))

    data = table(tmp_path / "in", column, make, [answer] * 6)
    with Path(data).open("a") as file:
        file.write(json.dumps({column: "rows.jsonl", **answer}) + "\n")
    ready, out = described(), str(tmp_path / "out")
    ready.load_processor()
    tables = find_tables(data, ready)
    gold = ready.gold_columns()
    read = from_table(described(), tables.columns, Settings(), takes=ready.takes())
    opened = OpenStages((*read, Encode(task=described(), gold=gold, output=out)))
    told = [row for one in tables.slices(4) for part in opened(one) for row in part.to_pylist()]
    opened.close()
    assert [row["record"] for row in told if row["failure"]] == [6], "no image, recording or video"
    encoded = Encoded(out)
    assert len(encoded) == 6

    good = table(tmp_path / "good", column, make, [answer] * 6)
    rows = find_tables(good, ready).read(ready)
    wanted = [each for row in rows for each in ready.encode_labels(row, ready.encode(row))]
    for at, one in enumerate(wanted):
        alike = [
            all(np.array_equal(encoded[n].arrays[key], value) for key, value in one.arrays.items() if key != "seed")
            for n in range(6)
        ]
        assert any(alike), at


@pytest.mark.usefixtures("ray_local")
def test_a_model_made_of_two_learns_to_describe_images(tiny, tmp_path):
    parts = {"encoder": str(write_vit(tmp_path / "vit")), "decoder": str(tiny("bert", "causal-lm"))}
    captions = [
        {"text": ["the red dog", "a green street", "the blue river"][number % 3], "film": number // 3}
        for number in range(12)
    ]
    data = table(tmp_path / "in", "image", image, captions)
    out = str(tmp_path / "out")
    how = {
        "settings": Train(
            epochs=8, learning_rate=1e-2, token_budget=400, evaluate_steps=1000, eval_share=0.2, eval_group="film"
        )
    }
    what = ("vision_encoder_decoder", "image-captioning")

    record = train(*what, data, out, workers=1, **parts, **how)
    points = [json.loads(line) for line in Path(out, "curve.jsonl").read_text().splitlines()]
    losses = [point["loss"] for point in points if "loss" in point]
    assert losses[-1] < losses[0] - 1
    assert set(record.metrics) == {"wer", "cer", "rows", "failed_rows"}
    assert record.checkpoint.startswith(f"{out}/start/")
    assert (record.rows, record.metrics["rows"]) == (9, 3), "a film of three pictures judges, three films teach"
    again = train(*what, data, out, workers=1, resume=True, **parts, **how)
    assert again == record, "what joins the two is found again"

    ready = task(*what)(resolve(record.model))
    ready.load_processor()
    rows = find_tables(data, ready).read(ready)[:3]
    answers = Predictor(ready, Predict(dtype="float32")).open(processor=False).predict(rows)
    assert all(isinstance(answer["text"], str) for answer in answers)
