"""Hear: a recording to mono float32 samples at the model's rate. Decoded and resampled in the sandbox."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from stages.base import Row
from stages.errors import Code, RowError
from stages.frames import Value
from stages.sandbox import Sandbox, SandboxLimits
from stages.sensing import TOTAL, Sense, Senses, file_key
from stages.settings import Settings
from stages.takes import Sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

ENGINES = ("soundfile", "av", "soxr")
"""Packages of the extra media that decode recordings."""
LISTENER = "stages.audio_child:open_listener"
HEARING_VERSION = 1
"""Raised when the same recordings give other samples."""


@dataclass(frozen=True, kw_only=True)
class Hear(Sense):
    """Decodes recordings in the sandbox: mono samples at the model's rate."""

    name: ClassVar[str] = "hear"
    column: ClassVar[str] = "sound"
    takes: Sound
    target: str = LISTENER
    """What runs in the sandbox."""

    def open(self) -> Senses:
        """Starts nothing: the child comes with the first recording."""
        return _Hear(self)


class _Hear(Senses):
    def __init__(self, stage: Hear) -> None:
        super().__init__(stage, open_listener(target=stage.target))
        self._settings, self._takes = stage.settings, stage.takes

    def sense(self, path: str, page: int) -> Row:  # noqa: ARG002  (a recording has one)
        samples = hear_file(self.sandbox, path, self._settings, takes=self._takes)
        return {"samples": samples.tobytes(), "rate": self._takes.rate}


def open_listener(*, target: str = LISTENER) -> Sandbox:
    """The child that decodes recordings; nothing is started before the first call."""
    return Sandbox(target, limits=SandboxLimits(memory_mb=2_000))


def hear_file(sandbox: Sandbox, path: str, settings: Settings, *, takes: Sound) -> Samples:
    """A recording as the model takes it: (samples,). Raises RowError."""
    key = f"{file_key(path)}\n{takes.rate}"
    request: dict[str, Value] = {"key": key, "rate": takes.rate, "max_s": settings.limits.seconds}
    limit = settings.render.timeout_s
    parts: list[Samples] = []
    have, total = 0, 1
    while have < total:
        asked = {**request, "offset": have}
        answer = sandbox.call(asked, timeout_s=limit, total_s=TOTAL * limit)
        if answer.get("need_file") is True:
            answer = sandbox.call(asked, path=path, timeout_s=limit, total_s=TOTAL * limit)
        match answer:
            case {"total": int(count), "samples": np.ndarray() as part} if part.dtype == np.float32 and part.ndim == 1:
                parts.append(cast("Samples", part))
                total, have = count, have + len(part)
            case _:
                raise RowError(Code.CRASH, "the listener answered nonsense: no samples")
        if not len(part) or total > (settings.limits.seconds + 1) * takes.rate:
            raise RowError(Code.CRASH, f"the listener answered nonsense: {len(part)} of {total} samples")
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not np.isfinite(samples).all():
        raise RowError(Code.DECODE_FAILED, "the recording holds samples that are no numbers")
    return samples


def hear_fingerprint() -> str:
    """What decides the samples of a recording: Manta's and the decoders' versions."""
    engines = {name: importlib.metadata.version(name) for name in ENGINES}
    return hashlib.sha256(json.dumps({"hearing": HEARING_VERSION, **engines}).encode()).hexdigest()[:32]
