"""Watch: a video to clips of frames in the size that a model takes. Decoded and scaled in the sandbox."""

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
from stages.sandbox import Sandbox
from stages.sensing import TOTAL, Sense, Senses
from stages.settings import Settings
from stages.takes import Clips

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENGINES = ("av",)
"""Packages of the extra media that decode videos."""
WATCHER = "stages.video_child:open_watcher"
WATCHING_VERSION = 1
"""Raised when the same videos and settings give other frames."""


@dataclass(frozen=True, kw_only=True)
class Watch(Sense):
    """Decodes clips of videos in the sandbox: some frames, in the size that the model takes."""

    name: ClassVar[str] = "watch"
    column: ClassVar[str] = "clips"
    takes: Clips
    target: str = WATCHER
    """What runs in the sandbox."""

    def open(self) -> Senses:
        """Starts nothing: the child comes with the first video."""
        return _Watch(self)


class _Watch(Senses):
    def __init__(self, stage: Watch) -> None:
        super().__init__(stage, Sandbox(stage.target))
        self._settings, self._takes = stage.settings, stage.takes

    def sense(self, path: str, page: int) -> Row:  # noqa: ARG002  (a video has one)
        frames = watch_file(self.sandbox, path, self._settings, takes=self._takes)
        count, height, width = frames.shape[:3]
        clips = self._takes.clips
        return {
            "frames": frames.tobytes(),
            "clips": clips,
            "count": count // clips,
            "height": height,
            "width": width,
        }


def watch_file(sandbox: Sandbox, path: str, settings: Settings, *, takes: Clips) -> NDArray[np.uint8]:
    """A video's clips as the model looks at them: (clips · frames, height, width, 3), RGB. Raises RowError."""
    request: dict[str, Value] = {
        "frames": takes.frames,
        "every": takes.every,
        "clips": takes.clips,
        "view": takes.view.packed(),
        "max_s": settings.limits.seconds,
        "max_pixels": settings.render.max_pixels,
    }
    limit = settings.render.timeout_s
    found = sandbox.call(request, path=path, timeout_s=limit, total_s=TOTAL * limit).get("frames")
    if (
        not isinstance(found, np.ndarray)
        or found.dtype != np.uint8
        or found.ndim != 4
        or (found.shape[0], found.shape[3]) != (takes.clips * takes.frames, 3)
    ):
        raise RowError(Code.CRASH, "the watcher answered nonsense: no frames")
    return cast("NDArray[np.uint8]", found)


def watch_fingerprint(settings: Settings) -> str:
    """What decides the frames of a video: Manta's and the decoders' versions."""
    engines = {name: importlib.metadata.version(name) for name in ("pillow", *ENGINES)}
    parts = {"watching": WATCHING_VERSION, "max_pixels": settings.render.max_pixels, **engines}
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
