"""Recordings that sound like nobody: a voice's harmonics under the rhythm of syllables, with some noise; FLAC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
SHORTEST, LONGEST = 5.0, 600.0
"""Seconds."""
_HARMONICS, _PITCH_HZ, _SYLLABLES_HZ = 12, 120.0, 4.0
_BLOCK = RATE * 30


def lengths(count: int, *, shortest: float = SHORTEST, longest: float = LONGEST) -> list[float]:
    """Seconds of each of ``count`` recordings, most of them short, in mixed order."""
    places = np.linspace(0, 1, count)
    seconds = shortest * (longest / shortest) ** (places**2)
    return [float(one) for one in np.random.default_rng(5).permutation(seconds)]


def write_recordings(folder: Path, seconds: Sequence[float]) -> list[Path]:
    """A mono file of each length, RATE samples a second."""
    import soundfile

    folder.mkdir(parents=True)
    paths = [folder / f"{number:03d}.flac" for number in range(len(seconds))]
    for number, (path, length) in enumerate(zip(paths, seconds, strict=True)):
        soundfile.write(path, _voice(np.random.default_rng([11, number]), round(length * RATE)), RATE)
    return paths


def _voice(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """(count,) samples, block by block."""
    blocks = [_syllables(random, min(_BLOCK, count - start)) for start in range(0, count, _BLOCK)]
    return np.concatenate(blocks)


def _syllables(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    time = np.arange(count, dtype=np.float32) / RATE
    pitch = _PITCH_HZ * random.uniform(0.7, 1.8) * (1 + 0.05 * np.sin(2 * np.pi * random.uniform(0.2, 1) * time))
    phase = 2 * np.pi * np.cumsum(pitch, dtype=np.float64) / RATE
    parts = [
        random.uniform(0.2, 1) / n * np.sin(n * phase + random.uniform(0, 6)).astype(np.float32)
        for n in range(1, _HARMONICS + 1)
    ]
    rhythm = np.clip(np.sin(2 * np.pi * _SYLLABLES_HZ * random.uniform(0.7, 1.4) * time), 0, None)
    noise = random.normal(0, 0.01, count).astype(np.float32)
    return np.asarray(0.15 * rhythm * np.sum(parts, axis=0) + noise, np.float32)
