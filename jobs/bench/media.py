"""Images, recordings and videos: ``manta run`` beside transformers.pipeline, files in, answers out.

CLIP-base chooses among ten labels, SEW-D-tiny writes down recordings of 5 seconds to 10 minutes, VideoMAE-base
classifies clips. Weights are random, which costs the same as trained ones, so no hub is needed. Both sides start from
the same files: decoding counts, loading models and starting Ray do not. In float32 the answers of both are compared.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from jobs.bench.common import media_models, media_peers
from jobs.bench.common.ask import Ask
from jobs.bench.common.documents import digest
from jobs.bench.common.machine import cores, versions
from jobs.bench.common.media_peers import BATCH, Answer
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.steady import pace
from jobs.bench.common.turns import Contender, in_turn, timed
from jobs.bench.made.motion import MOTIONS, frames, write_video
from jobs.bench.made.photographs import write_photographs
from jobs.bench.made.recordings import lengths, write_recordings
from stages.base import Row
from stages.hardware import exact_float32, native_bfloat16, pick_device, use_threads
from stages.settings import Predict, Settings

Format: TypeAlias = Literal["float32", "bfloat16"]
F32: Format = "float32"
BF16: Format = "bfloat16"
OURS, PIPELINE = "manta run", "transformers.pipeline"
LABELS = (
    "red circle", "green square", "blue star", "yellow ring", "orange moon", "pink bar", "purple cross",
    "brown triangle", "cloudy sky", "grey wall",
)  # fmt: skip
SENTENCE = "This is a photo of {}."
"""What both sides put a label into."""
CHUNK_S, EVERY, FRAMES = 20.0, 4, 64
"""Seconds of a chunk of sound; one frame of so many; frames of a video, which its one clip spans."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much there is to do."""

    images: int = 500
    recordings: int = 32
    longest_s: float = 600.0
    videos: int = 40
    side: int = 256
    """Rows and columns of a video's frame."""
    turns: int = 3
    at_once: int = field(default_factory=cores)
    """Parts that a run commits at once when it gets under way: one a process."""


QUICK = Sizes(images=32, recordings=8, longest_s=6.0, videos=8, side=64, turns=1, at_once=1)
JUDGED = 8
"""Recordings that the pipeline is asked one by one."""


@dataclass(frozen=True, kw_only=True)
class Medium:
    """Files of one kind, and what is asked of them."""

    name: str
    family: str
    task: str
    checkpoint: Path
    files: Sequence[Path]
    units: Sequence[float]
    """What each file counts."""
    unit: str
    options: Mapping[str, object]
    answers: tuple[str, ...]
    """Columns that both sides answer with."""
    peer: Callable[[str], Answer]
    """The pipeline in a number format."""
    judge: Answer | None = None
    """The pipeline whose answers are right, where in batches they are not."""
    marks: tuple[float, float]
    """How many times as fast we should be in float32 and in native bfloat16."""


@dataclass(kw_only=True)
class _Race:
    """One medium's contenders, what they took and what they answered."""

    medium: Medium
    scratch: Path
    at_once: int
    answers: dict[str, list[Row]] = field(default_factory=dict)
    """By contender, in the files' order."""
    taken: dict[str, float] = field(default_factory=dict)
    """Median seconds for all files."""

    def run(self, formats: Sequence[Format], turns: int) -> None:
        """All contenders in turn; pipelines are asked once before, so that warming up does not count."""
        contenders = []
        for name in formats:
            theirs = self.medium.peer(name)
            theirs(self.medium.files[:1])
            work = partial(self._theirs, f"{PIPELINE}, {name}", theirs)
            contenders += [
                Contender(name=f"{OURS}, {name}", seconds=partial(self._ours, name), turns=turns),
                Contender(name=f"{PIPELINE}, {name}", seconds=timed(work), turns=turns if name == F32 else 1),
            ]
        self.taken = in_turn(contenders)

    def _theirs(self, name: str, answer: Answer) -> None:
        self.answers[name] = answer(self.medium.files)

    def _ours(self, name: Format) -> float:
        """Seconds that all files take once a run is under way."""
        from jobs.run import run

        one = self.medium
        result = run(
            one.family,
            one.task,
            [str(one.files[0].parent)],
            tempfile.mkdtemp(prefix="output-", dir=self.scratch),
            checkpoint=str(one.checkpoint),
            settings=Settings(predict=Predict(dtype=name)),
            options=one.options,
        )
        assert not result.record.errors, result.record.errors
        rows = {Path(row["uri"]).name: row for row in result.rows.to_table().to_pylist()}
        found = [rows[file.name] for file in one.files]
        self.answers[f"{OURS}, {name}"] = found
        committed = [(row["at"], units) for row, units in zip(found, one.units, strict=True)]
        return sum(one.units) / pace(committed, together=self.at_once)

    def ratio(self, ours: Format) -> float:
        """How many times as fast we are as the pipeline in float32."""
        return self.taken[f"{PIPELINE}, {F32}"] / self.taken[f"{OURS}, {ours}"]

    def table(self) -> Table:
        """A row a contender."""
        one, peer = self.medium, f"{PIPELINE}, {F32}"
        rows: list[tuple[Cell, ...]] = [
            (name, sum(one.units) / seconds, self.taken[peer] / seconds) for name, seconds in self.taken.items()
        ]
        return Table(title=one.name, columns=("contender", f"{one.unit}/s", f"× {peer}"), rows=tuple(rows))

    def agreement(self) -> str:
        """How many of our answers are the pipeline's, in float32: texts and labels alike, scores within 1e-4."""
        one = self.medium
        right = one.judge(one.files[:JUDGED]) if one.judge else self.answers[f"{PIPELINE}, {F32}"]
        same = sum(
            all(_alike(ours[name], theirs[name]) for name in one.answers)
            for ours, theirs in zip(self.answers[f"{OURS}, {F32}"], right, strict=False)
        )
        return f"{same} of {len(right)}"


def _alike(ours: object, theirs: object) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, abs_tol=1e-4)
    return ours == theirs


def measure(ask: Ask) -> Report:
    """Images, seconds of sound and clips a second."""
    ask.refuse_data("media")
    exact_float32()
    use_threads(cores())
    sizes = QUICK if ask.quick else Sizes()
    formats = [F32, BF16] if native_bfloat16(pick_device("cpu")) and not ask.quick else [F32]
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        races = []
        for made in (_images, _recordings, _videos):
            race = _Race(medium=made(scratch, sizes, small=ask.quick), scratch=scratch, at_once=sizes.at_once)
            race.run(formats, sizes.turns)
            races.append(race)
        same = ", ".join(f"{race.agreement()} of the {race.medium.unit}" for race in races)
        files = "; ".join(f"{len(race.medium.files)} {race.medium.files[0].parent.name}" for race in races)
        sha256 = digest([file for race in races for file in race.medium.files])
    return Report(
        bench="media",
        title="images, recordings and videos",
        command=ask.command("media"),
        tables=tuple(race.table() for race in races),
        checks=() if ask.quick else tuple(check for race in races for check in _checks(race, formats)),
        notes=(
            f"{files}, sha256 {sha256}: JPEG of 640 × 480 pixels; FLAC of 16,000 samples a second, "
            f"{sum(races[1].medium.units) / 60:.0f} minutes in all; H.264 of {FRAMES} frames of {sizes.side}²",
            f"{PIPELINE}: batches of {BATCH}; {OURS}: from the first {sizes.at_once} parts that it commits to the last",
            f"float32 answers equal to the pipeline's: {same}. SEW-D's norms go over the silence that a batch is "
            f"filled up with, so {JUDGED} recordings are compared one by one",
            f"random weights; medians of {sizes.turns}, pipelines in bfloat16 once",
        ),
        versions=versions("ray", "torch", "transformers", "pillow", "soundfile", "av"),
    )


def _checks(race: _Race, formats: Sequence[Format]) -> list[Check]:
    return [
        Check(what=f"{race.medium.name}, ours in {name} against {PIPELINE}, {F32}", figure=race.ratio(name), mark=mark)
        for name, mark in zip(formats, race.medium.marks, strict=False)
    ]


# ---- the media


def _images(scratch: Path, sizes: Sizes, *, small: bool) -> Medium:
    checkpoint = scratch / "clip"
    media_models.clip_base(checkpoint, [SENTENCE.format(label) for label in LABELS], small=small)
    files = write_photographs(scratch / "images", sizes.images)
    return Medium(
        name="CLIP-base, images with ten labels",
        family="clip",
        task="zero-shot-image-classification",
        checkpoint=checkpoint,
        files=files,
        units=[1.0] * len(files),
        unit="images",
        options={"candidate_labels": list(LABELS), "hypothesis_template": SENTENCE},
        answers=("label", "score"),
        peer=partial(media_peers.images, checkpoint, LABELS),
        marks=(1.5, 2.0),
    )


def _recordings(scratch: Path, sizes: Sizes, *, small: bool) -> Medium:
    checkpoint = scratch / "sew-d"
    media_models.sew_d_tiny(checkpoint, small=small)
    seconds = lengths(sizes.recordings, longest=sizes.longest_s)
    return Medium(
        name="SEW-D-tiny, recordings",
        family="sew_d",
        task="automatic-speech-recognition",
        checkpoint=checkpoint,
        files=write_recordings(scratch / "recordings", seconds),
        units=seconds,
        unit="seconds of sound",
        options={"chunk_s": CHUNK_S},
        answers=("text",),
        peer=partial(media_peers.recordings, checkpoint, chunk_s=CHUNK_S),
        judge=media_peers.recordings(checkpoint, F32, chunk_s=CHUNK_S, batch=1),
        marks=(1.3, 2.0),
    )


def _videos(scratch: Path, sizes: Sizes, *, small: bool) -> Medium:
    checkpoint, folder = scratch / "videomae", scratch / "videos"
    media_models.videomae_base(checkpoint, small=small)
    folder.mkdir()
    motions = list(MOTIONS)
    files = [
        write_video(
            folder / f"{number:03d}.mp4",
            frames(motions[number % len(motions)], np.random.default_rng(number), count=FRAMES, side=sizes.side),
            rate=25,
        )
        for number in range(sizes.videos)
    ]
    return Medium(
        name="VideoMAE-base, clips",
        family="videomae",
        task="video-classification",
        checkpoint=checkpoint,
        files=files,
        units=[1.0] * len(files),
        unit="clips",
        options={"sample_rate": EVERY},
        answers=("label", "score"),
        peer=partial(media_peers.videos, checkpoint, every=EVERY),
        marks=(1.0, 2.0),
    )
