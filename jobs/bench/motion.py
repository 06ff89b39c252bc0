"""Motion: a small VideoMAE learns which way a shape goes, or whether it grows, from videos that the bench makes.

No single frame tells. The videos that it is judged by show combinations of shape and colour that it never saw.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jobs.bench.common.ask import Ask
from jobs.bench.common.lessons import Lesson, share_right
from jobs.bench.common.machine import versions
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.made.motion import MOTIONS, frames, write_video
from jobs.bench.made.shapes import names
from stages.base import Row

ROWS, TEST_ROWS = 1200, 240
FRAMES, SIDE = 8, 32
"""Of a video; rows and columns of pixels."""
LESSON = Lesson(
    family="videomae",
    task="video-classification",
    settings={
        "train.epochs": "25",
        "train.learning_rate": "1e-3",
        "train.token_budget": "1500",
        "train.schedule": "cosine",
        "task.sample_rate": "1",
        "augment.image_crop": "0.2",
    },
    workers=2,
)


def measure(ask: Ask) -> Report:
    """Accuracy on unseen videos, motion by motion."""
    ask.refuse_data("motion")
    rows, judged = (12, 6) if ask.quick else (ROWS, TEST_ROWS)
    lesson = LESSON.quick() if ask.quick else LESSON
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        write_start(scratch / "start")
        record = lesson.learn(scratch / "start", filmed(rows, names(held_out=False), 1, scratch), scratch / "learn")
        unseen = filmed(judged, names(held_out=True), 2, scratch)
        answers = lesson.answer(
            record.model, [{"video": row["video"]} for row in unseen], scratch / "answer", options={"sample_rate": 1}
        )
    right = [str(row["label"]) for row in unseen]
    found: list[tuple[Cell, ...]] = [
        (motion, len(some), share_right([answers[at] for at in some], [motion] * len(some)))
        for motion in MOTIONS
        for some in [[at for at, label in enumerate(right) if label == motion]]
    ]
    accuracy = share_right(answers, right)
    return Report(
        bench="motion",
        title="a video model on shapes that move",
        command=ask.command("motion"),
        tables=(
            Table(
                title="Unseen videos",
                columns=("motion", "videos", "accuracy"),
                rows=(*found, ("all", len(right), accuracy)),
            ),
        ),
        checks=() if ask.quick else (Check(what="accuracy on unseen videos", figure=accuracy, mark=0.9, unit=""),),
        notes=(
            f"{rows:,} videos of {FRAMES} frames of {SIDE}² pixels; those that judge show other shapes in other "
            "colours",
            f"VideoMAE of 4 layers, 128 wide, random; {lesson.told()}; {lesson.workers} workers, "
            f"{record.seconds['loop'] / 60:.1f} minutes in the loop",
        ),
        versions=versions("torch", "transformers", "ray", "av"),
    )


def filmed(count: int, combinations: Sequence[tuple[str, str]], seed: int, scratch: Path) -> list[Row]:
    """Rows ``video`` and ``label``, every motion as often as any other."""
    random, motions = np.random.default_rng(seed), list(MOTIONS)
    rows: list[Row] = []
    for number in range(count):
        motion, (shape, colour) = motions[number % len(motions)], combinations[int(random.integers(len(combinations)))]
        shown = frames(motion, random, count=FRAMES, side=SIDE, shape=shape, colour=colour)
        rows.append({"video": write_video(scratch / "video.mp4", shown).read_bytes(), "label": motion})
    return rows


def write_start(folder: Path) -> None:
    """The checkpoint that training starts from."""
    from transformers import VideoMAEConfig

    from pipelines.tasks.tiny import write_image_processor, write_model

    folder.mkdir(parents=True)
    write_image_processor(folder, "VideoMAEImageProcessorPil", size={"shortest_edge": SIDE}, crop=SIDE)
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "initializer_range": 0.08,
    }
    config = VideoMAEConfig(
        **sizes,
        intermediate_size=256,
        image_size=SIDE,
        patch_size=8,
        num_frames=FRAMES,
        id2label=dict(enumerate(MOTIONS)),
        label2id={motion: at for at, motion in enumerate(MOTIONS)},
    )
    write_model(folder, "VideoMAEForVideoClassification", config)
