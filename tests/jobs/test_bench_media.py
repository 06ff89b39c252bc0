"""The benches on images, recordings and videos: what they make and start from; and each of them once, small."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image
from transformers import AutoTokenizer

from jobs import bench as benches
from jobs.bench.common import media_models
from jobs.bench.common.digits import NAMES, Spoken, alone, in_threes, read_digits
from jobs.bench.common.filterbank import BANDS, RATE, STEP, TAPS, filters
from jobs.bench.common.lessons import Lesson, share_right, write_rows
from jobs.bench.common.wordlist import write_word_tokenizer
from jobs.bench.made import lines, recordings
from jobs.bench.made.motion import MOTIONS, frames, write_video
from jobs.bench.made.shapes import COLOURS, SHAPES, SIDE, Figure, figures, names, png
from jobs.training.encode import Tables, examples_of, packed
from jobs.training.learn import learn
from jobs.training.plan import Plan
from jobs.training.record import TrainRecord
from jobs.ways_in import columns_of
from pipelines import Options, Task
from pipelines import task as find
from pipelines.checkpoint import resolve
from stages.base import Row
from stages.errors import Failure, UsageError
from stages.predictor import Predictor
from stages.settings import Limits, Predict
from stages.tables import inspect

# ---- what they make


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(float)


def test_combinations_are_held_out_so_that_each_part_is_learned() -> None:
    seen, unseen = names(held_out=False), names(held_out=True)
    assert not set(seen) & set(unseen)
    assert len(seen) + len(unseen) == len(SHAPES) * len(COLOURS)
    for some in (seen, unseen):
        assert {shape for shape, _ in some} == set(SHAPES)
        assert {colour for _, colour in some} == set(COLOURS)
    made = figures(96, seen, 1)
    assert {(one.shape, one.colour) for one in made} == set(seen)
    assert made == figures(96, seen, 1) != figures(96, seen, 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_figure_is_seen_in_its_colour(shape: str) -> None:
    random = np.random.default_rng(0)
    found = pixels(png(Figure(shape=shape, colour="red", size="large", ground="black"), random))
    assert found.shape == (SIDE, SIDE, 3)
    red = (found[..., 0] > 150) & (found[..., 1] < 110)
    assert 0.02 < red.mean() < 0.6


def middle(frame: np.ndarray) -> tuple[float, float, int]:
    """Where what is red is, and how much of it there is."""
    rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 110) & (frame[..., 2] < 110))
    return columns.mean(), rows.mean(), len(rows)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_shape_moves_as_its_label_says(motion: str, tmp_path: Path) -> None:
    shown = frames(motion, np.random.default_rng(3), count=6, side=64)
    (x0, y0, size0), (x1, y1, size1) = middle(shown[0]), middle(shown[-1])
    across, down, grows = MOTIONS[motion]
    assert np.sign(round((x1 - x0) / 8)) == across
    assert np.sign(round((y1 - y0) / 8)) == down
    assert np.sign(round((size1 - size0) / 200)) == grows
    with av.open(str(write_video(tmp_path / "a.mp4", shown))) as container:
        assert [frame.to_ndarray(format="rgb24").shape for frame in container.decode(video=0)] == [(64, 64, 3)] * 6


def test_a_line_fits_its_image() -> None:
    random = np.random.default_rng(0)
    texts = [lines.line(random) for _ in range(200)]
    assert max(len(text) for text in texts) <= lines.LONGEST
    assert len(set(texts)) > 150
    for text in texts[:50]:
        found = pixels(lines.png(text, random)).mean(axis=2)
        assert found.shape == (lines.HEIGHT, lines.WIDTH)
        paper = np.median(found)
        ink = (found < paper - 60).any(axis=0)
        assert ink.any()
        assert not ink[-8:].any(), f"{text} runs out of its image"


def test_a_words_tokenizer_gives_texts_back(tmp_path: Path) -> None:
    write_word_tokenizer(tmp_path, lines.WORDS, max_length=16)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("total 4021 due", add_special_tokens=False)["input_ids"]
    assert len(ids) == 6
    assert tokenizer.decode(ids) == "total 4021 due"


def test_recordings_are_as_long_as_told(tmp_path: Path) -> None:
    seconds = recordings.lengths(8, longest=40)
    assert (min(seconds), max(seconds)) == (5, 40)
    assert np.median(seconds) < 22.5, "most are short"
    files = recordings.write_recordings(tmp_path / "r", seconds[:2])
    for file, wanted in zip(files, seconds[:2], strict=True):
        samples, rate = soundfile.read(file)
        assert len(samples) / rate == pytest.approx(wanted, abs=1e-3)
        assert 0.01 < np.abs(samples).max() < 1


def test_clips_tokenizer_knows_the_labels_words(tmp_path: Path) -> None:
    media_models._write_tokenizer(tmp_path, ["This is a photo of red circle."])
    ids = AutoTokenizer.from_pretrained(tmp_path)("This is a photo of red circle.")["input_ids"]
    assert len(ids) == 7 + 1 + 2


# ---- spoken digits


def spoken(digit: int, speaker: str, seconds: float = 0.3) -> Spoken:
    time = np.arange(int(RATE * seconds)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 200 * (digit + 1) * time)
    return Spoken(digit=digit, speaker=speaker, samples=wave.astype(np.float32), rate=RATE)


def write_digits(folder: Path) -> Path:
    for split, count in (("train", 3), ("test", 1)):
        (folder / split).mkdir(parents=True)
        for digit in range(10):
            for speaker in ("ann", "yweweler"):
                for number in range(count):
                    one = spoken(digit, speaker, 0.3 + 0.1 * number)
                    soundfile.write(folder / split / f"{digit}_{speaker}_{number}.wav", one.samples, RATE)
    return folder


def test_digits_are_read_from_their_names(tmp_path: Path) -> None:
    found = read_digits(write_digits(tmp_path))
    assert {split: len(some) for split, some in found.items()} == {"train": 60, "test": 20}
    assert {one.speaker for one in found["test"]} == {"ann", "yweweler"}
    with pytest.raises(UsageError, match=r"needs recordings: --data FOLDER with train/ and test/"):
        read_digits(None)


def test_recordings_are_filled_up_so_that_several_share_a_batch() -> None:
    rows = alone([spoken(1, "ann", 0.3), spoken(2, "ann", 0.6)])
    assert [row["label"] for row in rows] == ["1", "2"]
    lengths = [len(soundfile.read(io.BytesIO(row["audio"]))[0]) / RATE for row in rows]
    assert lengths == [0.5, 0.75]
    assert len(alone([spoken(1, "ann")], copies=3)) == 3


def test_three_digits_in_a_row_are_one_speakers() -> None:
    rows = in_threes([spoken(digit, who) for digit in range(10) for who in ("a", "b")], 6, varied=False, seed=0)
    assert all(set(row["text"].split()) <= set(NAMES) and len(row["text"].split()) == 3 for row in rows)
    samples, _ = soundfile.read(io.BytesIO(rows[0]["audio"]))
    assert len(samples) / RATE in (1.0, 1.25, 1.5)


def test_the_filter_bank_hears_how_loud_a_band_is_whatever_its_phase() -> None:
    bank = filters()
    assert bank.shape == (4 * BANDS, TAPS)
    time = np.arange(RATE) / RATE
    spectra = []
    for hz in (300, 1000, 2500):
        wave = np.sin(2 * np.pi * hz * time + 1)
        heard = np.stack([np.convolve(wave, one[::-1], "valid")[::STEP] for one in bank])
        loud = np.clip(heard, 0, None).reshape(4, BANDS, -1).sum(axis=0)
        assert loud.std(axis=1).max() < 0.25 * loud.mean(axis=1).max(), "a steady tone is steadily loud"
        spectra.append(int(loud.mean(axis=1).argmax()))
    assert spectra == sorted(spectra)
    assert len(set(spectra)) == 3


# ---- the benches


def test_a_share_of_labels_is_right() -> None:
    assert share_right([{"label": "a"}, {"label": "b"}], ["a", "a"]) == 0.5


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lessons learned and answered in this process: two steps and rows that are the real ones."""

    def sensed(task: Task, rows: list[Row], output: Path, gold: tuple[str, ...] = ()) -> list[Row]:
        file, columns = Path(write_rows(rows, output / "rows.parquet")), columns_of(task, more=gold)
        table = inspect(str(file), "1", file.stat().st_size, columns, Limits())
        return Tables(columns=columns, files=(table,)).read(task)

    def learn_here(self: Lesson, start: Path, rows: list[Row], output: Path) -> TrainRecord:
        settings, augment, options = self.how("rows", str(output))
        task = find(self.family, self.task)(resolve(str(start)), replace(options, allow_random_head=True))
        task.load_processor()
        labelled = [examples_of(task, row) for row in sensed(task, rows, output, task.gold_columns())]
        (output / "encoded").mkdir()
        pq.write_table(packed(task, labelled), output / "encoded" / "0.parquet")
        plan = Plan(task=task, settings=settings, augment=augment, output=str(output))
        outcome = learn(plan, torch.device("cpu"))
        assert outcome is not None
        assert np.isfinite(outcome.loss)
        return TrainRecord(
            family=self.family,
            task=self.task,
            checkpoint=str(start),
            model=str(output / "model"),
            rows=len(rows),
            left_out=0,
            workers=1,
            metrics=outcome.metrics,
            steps=outcome.steps,
            loss=outcome.loss,
            seconds={"loop": outcome.seconds},
        )

    def answer_here(
        self: Lesson, model: str, rows: list[Row], output: Path, *, task: str = "", options: Options | None = None
    ) -> list[Row | Failure]:
        kind = find(self.family, task or self.task)
        asked = kind(resolve(model), kind.options_type(**(options or {})))
        asked.load_processor()
        return Predictor(asked, Predict(dtype="float32")).open(processor=False).predict(sensed(asked, rows, output))

    monkeypatch.setattr(Lesson, "learn", learn_here)
    monkeypatch.setattr(Lesson, "answer", answer_here)


def told_by(name: str, data: Path | None, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert benches.bench(name, as_json=True, write=None, data=data, quick=True) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert all(isinstance(row[-1], (int, float)) for table in found["tables"] for row in table["rows"])
    return found


@pytest.mark.parametrize(
    ("name", "column", "rows"),
    [
        (
            "digits",
            "accuracy",
            ["the test folder", "the speakers it knows, test folder", "yweweler, left out, all recordings"],
        ),
        ("shapes", "accuracy", ["in the training", "left out"]),
        ("lines", "character error rate", ["printed lines", "captions of shapes"]),
        ("motion", "accuracy", [*MOTIONS, "all"]),
    ],
)
def test_a_bench_trains_and_judges(
    name: str,
    column: str,
    rows: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_ray(monkeypatch)
    data = write_digits(tmp_path / "data") if name == "digits" else None
    table = told_by(name, data, capsys)["tables"][0]
    assert column in table["columns"]
    assert [row[0] for row in table["rows"]] == rows


@pytest.mark.usefixtures("ray_local")
def test_ours_and_the_pipelines_answer_alike(capsys: pytest.CaptureFixture[str]) -> None:
    found = told_by("media", None, capsys)
    assert [len(table["rows"]) for table in found["tables"]] == [2, 2, 2]
    alike = "32 of 32 of the images, 8 of 8 of the seconds of sound, 8 of 8 of the clips"
    assert alike in " ".join(found["notes"])
