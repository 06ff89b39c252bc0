"""The watcher inside the sandbox: clips of a video's frames, as a model looks at them, through FFmpeg (PyAV).

Frames are chosen by time, so that a video of variable frame rate is sampled evenly; at a constant rate that is every
n-th frame. A clip is found by a seek to the key frame before it, so long videos are not decoded whole. Frames are
turned as the camera was held, and made RGB.

One request: ``frames``, ``every``, ``clips`` (stages/takes.py), ``view`` (stages/view.py), ``max_s``, ``max_pixels`` →
``frames`` (clips · frames, height, width, 3), and ``seconds``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from stages.errors import Code, RowError
from stages.pages import check_other_type
from stages.sandbox_child import Handler, progress
from stages.view import View, viewed

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

    from stages.frames import Value

_STILL = "_pipe"
"""How FFmpeg's names of its readers for single images end."""
_CUT = 0.8
"""A video that holds less than this share of the length that its header tells is cut short."""


def open_watcher(_settings: Mapping[str, Value]) -> Handler:
    """The handler."""
    return _watch


def _watch(request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]:
    import numpy as np

    assert file is not None
    frames, every, clips, max_pixels = (
        cast("int", request[name]) for name in ("frames", "every", "clips", "max_pixels")
    )
    view = View.unpacked(cast("Mapping[str, Value]", request["view"]))
    shown, seconds = clips_of(
        file, (frames, every, clips), max_s=cast("float", request["max_s"]), max_pixels=max_pixels
    )
    return {"frames": np.stack([viewed(one, view, max_pixels) for one in shown]), "seconds": seconds}


def clips_of(file: str, wanted: tuple[int, int, int], *, max_s: float, max_pixels: int) -> tuple[list[Image], float]:
    """The upright frames of all clips, (frames, every, clips) as ``wanted``, and the video's seconds. Raises RowError:
    CORRUPT, DECODE_FAILED, EMPTY, PAGE_TOO_LARGE, TOO_LARGE, UNSUPPORTED_TYPE."""
    import av

    try:
        container = av.open(file, metadata_errors="ignore")
    except av.EOFError as error:
        raise RowError(Code.EMPTY, "the video has no frames", detail=str(error)) from error
    except (av.FFmpegError, ValueError) as error:
        check_other_type(file)
        raise RowError(Code.CORRUPT, "no reader opens the video", detail=str(error)) from error
    with container:
        if container.format.name.endswith(_STILL):
            raise RowError(Code.UNSUPPORTED_TYPE, "the file is an image, not a video")
        try:
            times = _Times.of(container, max_s, max_pixels)
            found = [one for clip in chosen(times.total, *wanted) for one in _frames(container, times, clip)]
            return [_upright(frame) for frame in found], times.total / times.rate
        except (av.FFmpegError, ValueError) as error:
            message = "the video breaks off: its bytes are not what its type says"
            raise RowError(Code.DECODE_FAILED, message, detail=f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Times:
    """When a video's frames are shown."""

    shown: Sequence[int]
    """Presentation times, ascending, in the stream's time base."""
    rate: float
    """Frames a second, on average."""
    total: int
    """Frames at that rate: those that are there, where it is constant."""
    step: float
    """Time of one frame, in the stream's time base."""

    @classmethod
    def of(cls, container: InputContainer, max_s: float, max_pixels: int) -> _Times:
        """Looks at every packet and decodes none. Raises RowError: EMPTY, TOO_LARGE, PAGE_TOO_LARGE,
        UNSUPPORTED_TYPE, DECODE_FAILED."""
        import av

        stream = _stream(container)
        size = stream.codec_context.width, stream.codec_context.height
        if size[0] * size[1] > max_pixels:
            message = f"frames have {size[0]} × {size[1]} pixels, more than render.max_pixels = {max_pixels}"
            raise RowError(Code.PAGE_TOO_LARGE, message)
        told = (container.duration or 0) / av.time_base
        shown = []
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                shown.append(packet.pts)
            progress()
        if not shown:
            raise RowError(Code.EMPTY, "the video has no frames")
        shown.sort()
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        tick = float(stream.time_base or 1 / rate)
        seconds = (shown[-1] - shown[0]) * tick + 1 / rate
        if max(seconds, told if told < 10 * seconds else 0) > max_s:
            raise RowError(Code.TOO_LARGE, f"the video is longer than limits.seconds = {max_s:g}")
        if seconds < _CUT * told and told - seconds > 1:
            raise RowError(Code.DECODE_FAILED, f"the video is cut short: {seconds:.1f} of {told:.1f} s are there")
        return cls(shown=shown, rate=rate, total=max(round(seconds * rate), 1), step=1 / (rate * tick))


def chosen(total: int, frames: int, every: int, clips: int) -> list[list[int]]:
    """The frames of each clip, by number: one of ``every``, closer together where there are too few.

    Clips lie evenly in the video, a single one in its middle.
    """
    import numpy as np

    span = min(frames * every, total)
    starts = np.linspace(0, total - span, clips + 2)[1:-1].astype(int)
    within = np.linspace(0, span - 1, frames).astype(int)
    return [(start + within).tolist() for start in starts]


def _stream(container: InputContainer) -> VideoStream:
    """The first stream of moving pictures: a song's cover is none."""
    import av

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise RowError(Code.UNSUPPORTED_TYPE, "the file holds no video")


def _frames(container: InputContainer, times: _Times, numbers: Sequence[int]) -> list[VideoFrame]:
    """The frames that are shown at these numbers' times, ascending."""
    stream = _stream(container)
    first = times.shown[0]
    at = [times.shown[max(bisect_right(times.shown, first + (n + 0.5) * times.step) - 1, 0)] for n in numbers]
    container.seek(at[0], stream=stream, backward=True)
    found: list[VideoFrame] = []
    last: VideoFrame | None = None
    for frame in container.decode(stream):
        progress()
        if frame.pts is None:
            continue
        while last is not None and len(found) < len(at) and at[len(found)] < frame.pts:
            found.append(last)
        last = frame
        if len(found) == len(at):
            return found
    if last is None:
        raise RowError(Code.DECODE_FAILED, "no frame of the video can be decoded")
    return found + [last] * (len(at) - len(found))


def _upright(frame: VideoFrame) -> Image:
    """RGB, turned as the camera was held."""
    image: Image = frame.to_image()  # type: ignore[no-untyped-call]
    return image.rotate(frame.rotation, expand=True) if frame.rotation % 360 else image
