"""Recordings of spoken digits (train/ and test/DIGIT_speaker_n.wav) as rows: alone, and three in a row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.base import Row
from stages.errors import UsageError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STEP_S = 0.25
"""Recordings are filled up to a multiple of this many seconds, so that several share a batch."""
SPEEDS = (0.85, 1.18)
PAUSE_S = (0.03, 0.2)
"""Between two digits, in seconds."""
NOISE = (0.0005, 0.01)
"""Standard deviation of the noise that training adds."""

Samples = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One recording."""

    digit: int
    speaker: str
    samples: Samples
    rate: int


def read_digits(folder: Path | None) -> dict[str, list[Spoken]]:
    """The recordings of ``train`` and ``test``. Raises UsageError where they are not there."""
    import soundfile

    found: dict[str, list[Spoken]] = {}
    for split in ("train", "test"):
        files = sorted((folder / split).glob("*_*_*.wav")) if folder is not None else []
        if not files:
            raise UsageError("bench digits needs recordings: --data FOLDER with train/ and test/DIGIT_speaker_n.wav")
        found[split] = []
        for file in files:
            digit, speaker, _ = file.stem.split("_")
            samples, rate = soundfile.read(file, dtype="float32")
            found[split].append(Spoken(digit=int(digit), speaker=speaker, samples=samples, rate=rate))
    return found


def alone(spoken: Sequence[Spoken], *, copies: int = 0, seed: int = 0) -> list[Row]:
    """A row a recording, ``audio`` and ``label``; or ``copies`` of each, faster or slower, earlier or later, with
    noise, for training."""
    random = np.random.default_rng(seed)
    if not copies:
        return [{"audio": _wav(_filled(one.samples, one.rate), one.rate), "label": str(one.digit)} for one in spoken]
    return [
        {"audio": _wav(_filled(_varied(one, random), one.rate, random), one.rate), "label": str(one.digit)}
        for one in spoken
        for _ in range(copies)
    ]


def in_threes(spoken: Sequence[Spoken], count: int, *, varied: bool, seed: int) -> list[Row]:
    """``count`` rows, ``audio`` and ``text``: three digits of one speaker with pauses between."""
    random = np.random.default_rng(seed)
    speakers = sorted({one.speaker for one in spoken})
    rows: list[Row] = []
    for number in range(count):
        own = [one for one in spoken if one.speaker == speakers[number % len(speakers)]]
        three = [own[int(at)] for at in random.integers(0, len(own), 3)]
        rate, parts = three[0].rate, []
        for one in three:
            silence = np.zeros(int(random.uniform(*PAUSE_S) * rate), np.float32)
            parts += [silence, _varied(one, random) if varied else one.samples]
        rows.append(
            {
                "audio": _wav(_filled(np.concatenate(parts), rate, random if varied else None), rate),
                "text": " ".join(NAMES[one.digit] for one in three),
            }
        )
    return rows


def _varied(one: Spoken, random: np.random.Generator) -> Samples:
    """Faster or slower, with noise."""
    import soxr

    changed = soxr.resample(one.samples, one.rate, one.rate / random.uniform(*SPEEDS))
    noise = random.uniform(*NOISE) * random.standard_normal(len(changed))
    return np.asarray(changed + noise, np.float32)


def _filled(samples: Samples, rate: int, random: np.random.Generator | None = None) -> Samples:
    """With silence around, up to a multiple of STEP_S; more before than after by chance where there is any."""
    step = round(STEP_S * rate)
    missing = -len(samples) % step
    before = int(random.integers(0, missing + 1)) if random is not None else missing // 2
    return np.pad(samples, (before, missing - before))


def _wav(samples: Samples, rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
