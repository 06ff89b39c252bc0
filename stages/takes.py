"""What a model takes of a file: a ``View`` of an image, a ``Sound`` of a recording, ``Clips`` of a video.

A task says it (``pipelines.family.Task.takes``); the stages that sense files (sensing.py) do it in their sandboxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from stages.view import View


@dataclass(frozen=True, kw_only=True)
class Sound:
    """How a model takes recordings: mono."""

    rate: int
    """Samples a second."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """How a model takes videos: clips of some frames, each frame as it would take an image."""

    view: View
    frames: int
    """Frames of one clip."""
    every: int
    """One frame of so many is taken; frames closer together where the video is too short for that."""
    clips: int
    """Clips of one video, evenly spread."""


Takes: TypeAlias = View | Sound | Clips
