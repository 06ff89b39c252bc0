"""The listener inside the sandbox: recordings of any format to mono samples at one rate.

libsndfile (soundfile) opens WAV, FLAC, Ogg, Opus and MP3; FFmpeg (PyAV) what it does not, the sound of videos too. A
file is decoded and resampled block by block, so that only the result, 4 bytes a sample, is ever whole in memory.

One request: ``key`` (of file and rate), ``rate`` (Hz), ``max_s`` (longest recording), ``offset`` → ``total`` samples,
and ``samples`` from ``offset`` on, at most PART of them; ``{"need_file": True}`` where the newest file has another key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from stages.errors import Code, RowError
from stages.pages import check_other_type
from stages.sandbox_child import Handler, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.frames import Value

    Samples = NDArray[np.float32]

PART = 16_000_000
"""Samples of one answer: 64 MB."""
_BLOCK = 1 << 18
_SHORT = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile says of a WAV file that ends early."""
_STREAMED = 0x7FFF_0000
"""Sizes from which on a header only says that the writer did not know it."""


def open_listener(_settings: Mapping[str, Value]) -> Handler:
    """The handler."""
    return _Listener().handle


class _Listener:
    """The newest recording."""

    def __init__(self) -> None:
        self._key: Value = None
        self._samples: Samples | None = None

    def handle(self, request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]:
        """One request; see the module's docstring."""
        if file is not None:
            self._key = self._samples = None
            self._samples = decoded(file, cast("int", request["rate"]), cast("float", request["max_s"]))
            self._key = request["key"]
        elif self._samples is None or request["key"] != self._key:
            return {"need_file": True}
        offset = cast("int", request["offset"])
        return {"total": len(self._samples), "samples": self._samples[offset : offset + PART]}


def decoded(path: str, rate: int, max_s: float) -> Samples:
    """A recording as mono float32 at ``rate`` Hz. Raises RowError: CORRUPT, DECODE_FAILED, EMPTY, TOO_LARGE,
    UNSUPPORTED_TYPE."""
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        return _whole(_ffmpeg(path, max_s, str(error)), rate, max_s)
    with file:
        _check_seconds(file.frames / file.samplerate, max_s)
        short = _SHORT.search(file.extra_info)
        if short and int(short[1]) < _STREAMED:
            message = f"the recording is cut short: {short[2]} of {short[1]} bytes are there"
            raise RowError(Code.DECODE_FAILED, message)
        return _whole(_sndfile(file), rate, max_s)


def _whole(blocks: Iterator[tuple[int, Samples]], rate: int, max_s: float) -> Samples:
    """Blocks (rate, mono samples) of a recording, resampled and joined."""
    import numpy as np
    import soxr

    parts: list[Samples] = []
    stream: soxr.ResampleStream | None = None
    taken = 0
    for own_rate, block in blocks:
        taken += len(block)
        _check_seconds(taken / own_rate, max_s)
        if own_rate != rate:
            stream = stream or soxr.ResampleStream(own_rate, rate, 1, dtype="float32")
            block = stream.resample_chunk(block)  # noqa: PLW2901
        parts.append(block)
        progress()
    if stream is not None:
        parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    if not taken:
        raise RowError(Code.EMPTY, "the recording has no samples")
    return np.concatenate(parts)


def _check_seconds(seconds: float, max_s: float) -> None:
    if seconds > max_s:
        message = f"the recording is longer than limits.seconds = {max_s:g}"
        raise RowError(Code.TOO_LARGE, message)


def _sndfile(file: object) -> Iterator[tuple[int, Samples]]:
    import soundfile

    assert isinstance(file, soundfile.SoundFile)
    try:
        for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
            yield file.samplerate, block.mean(axis=1)
    except soundfile.LibsndfileError as error:
        raise _broken(error) from error


def _ffmpeg(path: str, max_s: float, refused: str) -> Iterator[tuple[int, Samples]]:
    """What FFmpeg decodes of the first sound track; ``refused`` is what libsndfile said."""
    import av

    try:
        container = av.open(path, metadata_errors="ignore")
    except av.EOFError as error:
        raise RowError(Code.EMPTY, "the recording has no samples", detail=str(error)) from error
    except (av.FFmpegError, ValueError) as error:
        check_other_type(path)
        message = "no reader opens the recording"
        raise RowError(Code.CORRUPT, message, detail=f"libsndfile: {refused}\nffmpeg: {error}") from error
    with container:
        if not container.streams.audio:
            raise RowError(Code.UNSUPPORTED_TYPE, "the file holds no sound")
        if container.duration is not None:
            _check_seconds(container.duration / av.time_base, max_s)
        mono = None
        try:
            for frame in container.decode(audio=0):
                rate = frame.sample_rate
                mono = mono or av.AudioResampler(format="fltp", rate=rate)
                for converted in mono.resample(frame):
                    yield rate, converted.to_ndarray().mean(axis=0)
        except (av.FFmpegError, ValueError) as error:
            raise _broken(error) from error


def _broken(error: Exception) -> RowError:
    message = "the recording breaks off: its bytes are not what its type says"
    return RowError(Code.DECODE_FAILED, message, detail=f"{type(error).__name__}: {error}")
