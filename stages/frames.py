"""Bounded frames of numbers, text and arrays over a socket: how the sandbox's two sides talk. Never pickles.

    frame  = head, array lengths (uint64 each), body, array bytes …
    head   = magic "MNT1", body bytes (uint32), number of arrays (uint16), little endian
    body   = msgpack of [kind, payload]; an array stands in it as extension 1: [dtype, shape, index of its bytes]

Array bytes travel beside the body, straight from and into numpy's memory. ``receive`` trusts nothing: sizes are
checked before memory is taken, then depth, number of items, types, dtype and shape against byte length. What does not
fit is a ``FrameError``. numpy is imported only when an array passes, so that a child starts quickly.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union, cast

import msgpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value: TypeAlias = Union[
    bool, int, float, str, bytes, Sequence["Value"], Mapping[str, "Value"], "NDArray[np.generic]", None
]
"""What a frame can hold. Tuples arrive as lists, numpy scalars as Python numbers. Integers have 64 bits."""

Wait: TypeAlias = Callable[[], None]
"""Called when the socket would block: returns once it is ready again, or raises to give up."""

DTYPES = frozenset({"|b1", "|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"})
"""The array types that pass, as numpy writes them: numbers and truth values, little endian, never objects."""

_HEAD = struct.Struct("<4sIH")
_MAGIC = b"MNT1"
_ARRAY = 1


class FrameError(ValueError):
    """What arrived is not a frame within its limits, or what should be sent does not fit into one."""


class ClosedError(EOFError):
    """The other side is gone."""


@dataclass(frozen=True, kw_only=True)
class FrameLimits:
    """What one frame may hold, either way. A worker that is sent the most of all this takes about 0.5 GB for it."""

    body_bytes: int = 16 << 20
    """Text, numbers and bytes, as msgpack."""
    array_bytes: int = 128 << 20
    """All arrays of a frame together."""
    arrays: int = 1_000
    """Number of arrays."""
    items: int = 1_000_000
    """Number of values in all lists and dicts together; keeps a small body from becoming gigabytes of objects."""
    depth: int = 16
    """Lists and dicts within each other."""


def send(channel: socket.socket, kind: str, payload: Value, *, wait: Wait | None = None) -> None:
    """Writes one frame. A value that a frame cannot hold raises TypeError or ValueError; then nothing was written."""
    arrays: list[NDArray[np.generic]] = []
    body = msgpack.packb([kind, payload], default=lambda value: _packed(value, arrays))
    sizes = [array.nbytes for array in arrays]
    _check_sizes(len(body), sizes, FrameLimits())
    head = _HEAD.pack(_MAGIC, len(body), len(arrays)) + struct.pack(f"<{len(arrays)}Q", *sizes)
    # One write for the small parts; arrays go as they lie in memory.
    for part in (memoryview(head + body), *(array.reshape(-1).data.cast("B") for array in arrays if array.nbytes)):
        _send_all(channel, part, wait)


def receive(channel: socket.socket, limits: FrameLimits, *, wait: Wait | None = None) -> tuple[str, Value]:
    """Reads one frame: its kind and payload. Raises FrameError for anything else, ClosedError at the end."""
    magic, body_bytes, count = _HEAD.unpack(_exactly(channel, _HEAD.size, wait))
    if magic != _MAGIC:
        raise FrameError("not a frame")
    sizes = struct.unpack(f"<{count}Q", _exactly(channel, 8 * count, wait))
    _check_sizes(body_bytes, sizes, limits)
    body = _exactly(channel, body_bytes, wait)
    parts = [_array_bytes(channel, size, wait) for size in sizes]
    return _message(body, parts, limits)


def _check_sizes(body: int, arrays: Sequence[int], limits: FrameLimits) -> None:
    if body > limits.body_bytes or len(arrays) > limits.arrays or sum(arrays) > limits.array_bytes:
        raise FrameError(f"a frame of {body} bytes and {len(arrays)} arrays of {sum(arrays)} bytes is above the limit")


def send_file(channel: socket.socket, file: int, wait: Wait) -> None:
    """Passes a descriptor on, with one byte of its own."""
    while True:
        try:
            socket.send_fds(channel, [b"F"], [file])
        except BlockingIOError:
            wait()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ClosedError("the other side is gone") from error
        else:
            return


def receive_file(channel: socket.socket) -> int:
    """The descriptor that ``send_file`` passes on."""
    _, files, _, _ = socket.recv_fds(channel, 1, 1)
    if not files:
        raise ClosedError("no file came")
    return files[0]


def _message(body: bytearray, parts: list[NDArray[np.uint8]], limits: FrameLimits) -> tuple[str, Value]:
    unpacker = _Unpacker(parts, limits)
    try:
        message = msgpack.unpackb(
            body,
            ext_hook=unpacker.array,
            list_hook=unpacker.counted,
            object_hook=unpacker.counted,
            strict_map_key=True,
            max_array_len=min(limits.items, len(body)),
            max_map_len=min(limits.items, len(body)),
        )
    except FrameError:
        raise
    except (ValueError, TypeError, MemoryError, msgpack.UnpackException) as error:
        raise FrameError(f"not a frame: {type(error).__name__}: {str(error)[:200]}") from error
    if unpacker.next_part != len(parts):
        raise FrameError("arrays that the body does not name")
    match message:
        case [str(kind), payload]:
            _check(payload, limits.depth)
            return kind, cast("Value", payload)
        case _:
            raise FrameError("a frame must say its kind")


class _Unpacker:
    """The hooks of one frame; each array's bytes are used once, in order."""

    def __init__(self, parts: list[NDArray[np.uint8]], limits: FrameLimits) -> None:
        self._parts, self._left, self._limits = parts, limits.items, limits
        self.next_part = 0

    def counted(self, items: list[object] | dict[str, object]) -> list[object] | dict[str, object]:
        self._left -= len(items) + 1
        if self._left < 0:
            raise FrameError(f"more than {self._limits.items} items")
        return items

    def array(self, code: int, data: bytes) -> NDArray[np.generic]:
        import numpy as np

        match msgpack.unpackb(data) if code == _ARRAY else None:
            case [str(dtype), [*shape], int(index)] if dtype in DTYPES and index == self.next_part < len(self._parts):
                part = self._parts[index]
            case _:
                raise FrameError("an extension that is not an array")
        self.next_part += 1
        dims = [dim for dim in shape if type(dim) is int and 0 <= dim <= self._limits.array_bytes]
        if len(dims) != len(shape) or len(shape) > 8 or math.prod(dims) * np.dtype(dtype).itemsize != part.size:
            raise FrameError(f"{part.size} bytes are no array of {dtype} and its shape")
        if dtype == "|b1" and part.size and part.max() > 1:
            raise FrameError("truth values that are neither 0 nor 1")
        return part.view(dtype).reshape(dims)


def _check(value: object, depth: int) -> None:
    """Raises FrameError for what is nested too deep or is none of the types of ``Value``."""
    if type(value) in _PLAIN:
        return
    if depth == 0:
        raise FrameError("nested too deep")
    if type(value) is list:
        for item in value:
            if type(item) not in _PLAIN:
                _check(item, depth - 1)
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise FrameError("a key that is not text")
            _check(item, depth - 1)
    elif type(value).__module__ != "numpy":
        raise FrameError(f"a value of type {type(value).__name__}")


_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def _packed(value: object, arrays: list[NDArray[np.generic]]) -> object:
    """What msgpack does not know: numpy's arrays and scalars."""
    if type(value).__module__ == "numpy":
        import numpy as np

        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray) and value.dtype.str in DTYPES:
            arrays.append(np.ascontiguousarray(value))
            return msgpack.ExtType(_ARRAY, msgpack.packb([value.dtype.str, value.shape, len(arrays) - 1]))
    raise TypeError(f"{type(value).__name__} is neither number, text, list, dict nor array")


def _send_all(channel: socket.socket, data: memoryview, wait: Wait | None) -> None:
    while data:
        try:
            data = data[channel.send(data) :]
        except BlockingIOError:
            if wait is None:
                raise
            wait()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ClosedError("the other side is gone") from error


def _exactly(channel: socket.socket, size: int, wait: Wait | None) -> bytearray:
    """The next ``size`` bytes; small."""
    data = bytearray(size)
    _fill(channel, memoryview(data), wait)
    return data


def _array_bytes(channel: socket.socket, size: int, wait: Wait | None) -> NDArray[np.uint8]:
    """The next ``size`` bytes, in memory that is taken only as they arrive and not copied again."""
    import numpy as np

    data = np.empty(size, np.uint8)
    _fill(channel, data.data, wait)
    return data


def _fill(channel: socket.socket, view: memoryview, wait: Wait | None) -> None:
    while view:
        try:
            got = channel.recv_into(view)
        except BlockingIOError:
            if wait is None:
                raise
            wait()
            continue
        except ConnectionResetError as error:
            raise ClosedError("the other side is gone") from error
        if not got:
            raise ClosedError("the other side is gone")
        view = view[got:]
