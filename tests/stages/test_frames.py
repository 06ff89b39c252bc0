"""Frames: what goes in comes out, and nothing that comes from outside does more than FrameError or ClosedError."""

import contextlib
import socket
import struct
import threading
import time

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages import frames
from stages.frames import ClosedError, FrameError, FrameLimits

ARRAYS = hnp.arrays(
    dtype=st.sampled_from(sorted(frames.DTYPES)).map(np.dtype),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary() | ARRAYS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5), max_leaves=20
)


def through(kind, payload, limits=None):
    """What arrives of a frame that is sent."""
    left, right = socket.socketpair()
    with left, right:

        def send():
            with contextlib.suppress(ClosedError):  # a receiver that refuses hangs up
                frames.send(left, kind, payload)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return frames.receive(right, limits or FrameLimits())
        finally:
            right.close()
            sender.join()


def received(data, limits=None):
    """What is made of raw bytes, after which the other side is gone."""
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        left.close()
        return frames.receive(right, limits or FrameLimits())


def frame(body, *arrays):
    """A frame's bytes around any body."""
    sizes = struct.pack(f"<{len(arrays)}Q", *map(len, arrays))
    return struct.pack("<4sIH", b"MNT1", len(body), len(arrays)) + sizes + body + b"".join(arrays)


def same(one, other):
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and (one == other or one != one)


@given(kind=st.text(), payload=VALUES)
def test_what_is_sent_arrives(kind, payload):
    arrived_kind, arrived = through(kind, payload)
    assert arrived_kind == kind
    assert same(payload, arrived)


def test_tuples_numpy_scalars_and_strided_arrays_arrive_as_plain_values():
    page = np.arange(24, dtype=np.int16).reshape(4, 6)
    _, arrived = through("k", {"t": (1, 2), "s": np.float32(0.5), "page": page[::2, ::-1]})
    assert arrived["t"] == [1, 2]
    assert arrived["s"] == 0.5
    assert np.array_equal(arrived["page"], page[::2, ::-1])
    arrived["page"][0, 0] = 7  # belongs to the receiver


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 2**64, -(2**63) - 1, np.array(["text"]), np.array([{}]), "\ud800", np.zeros(2, complex)]
)
def test_what_a_frame_cannot_hold_is_refused_before_anything_is_sent(value):
    left, right = socket.socketpair()
    with left, right:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            frames.send(left, "k", value)
        left.close()
        assert right.recv(1) == b""


@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_frame(data):
    with pytest.raises((FrameError, ClosedError)):
        received(data)


@given(body=st.binary(max_size=200), arrays=st.lists(st.binary(max_size=20), max_size=3))
def test_random_bodies_are_no_frame_or_a_plain_value(body, arrays):
    try:
        kind, payload = received(frame(body, *arrays))
    except (FrameError, ClosedError):
        return
    assert isinstance(kind, str)
    through(kind, payload)  # it can be sent, so it is a Value


@given(payload=VALUES, flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_frames_are_no_frame_or_a_plain_value(payload, flips):
    arrays = []
    body = msgpack.packb(["k", payload], default=lambda value: frames._packed(value, arrays))
    data = bytearray(frame(body, *(array.tobytes() for array in arrays)))
    for at, byte in flips:
        data[at % len(data)] = byte
    try:
        kind, payload = received(bytes(data), FrameLimits(array_bytes=1 << 20, body_bytes=1 << 20))
    except (FrameError, ClosedError):
        return
    through(kind, payload)


def array(*parts):
    return msgpack.ExtType(1, msgpack.packb(list(parts)))


@pytest.mark.parametrize(
    ("payload", "parts"),
    [
        (array("<f4", [2], 0), [b"1234"]),  # shape does not fit the bytes
        (array("<f4", [-1], 0), [b"1234"]),
        (array("<f4", [True], 0), [b"1234"]),
        (array("<f4", [1] * 9, 0), [b"1234"]),
        (array("<f4", [0, 1 << 62], 0), [b""]),
        (array("|O", [1], 0), [b"12345678"]),
        (array("<U1", [1], 0), [b"1234"]),
        (array("|b1", [2], 0), [b"\1\2"]),  # a truth value that is neither
        (array("|u1", [1], 1), [b"1"]),
        (array("|u1", [1], -1), [b"1"]),
        ([array("|u1", [1], 0)] * 2, [b"1"]),  # the same bytes twice
        (None, [b"1"]),  # bytes that nothing names
        (msgpack.ExtType(2, b""), []),
        (msgpack.Timestamp(0), []),
        (array("|u1"), []),
        (msgpack.ExtType(1, b"\xc1"), [b""]),
    ],
)
def test_arrays_are_checked_against_their_bytes(payload, parts):
    with pytest.raises(FrameError):
        received(frame(msgpack.packb(["k", payload]), *parts))


@pytest.mark.parametrize(
    ("limits", "payload"),
    [
        (FrameLimits(body_bytes=100), "x" * 100),
        (FrameLimits(array_bytes=99), np.zeros(100, np.uint8)),
        (FrameLimits(arrays=2), [np.zeros(1)] * 3),
        (FrameLimits(items=100), [[1] * 20] * 5),
        (FrameLimits(items=100), {str(n): None for n in range(101)}),
        (FrameLimits(depth=3), [[[[1]]]]),
        (FrameLimits(depth=3), {"a": [{"b": [1]}]}),
    ],
)
def test_each_limit_holds(limits, payload):
    with pytest.raises(FrameError):
        through("k", payload, limits)
    through("k", payload)  # and it is the limit that refuses


def test_sizes_are_checked_before_memory_is_taken():
    with pytest.raises(FrameError):
        received(struct.pack("<4sIH", b"MNT1", 0xFFFFFFFF, 0))
    with pytest.raises(FrameError):
        received(struct.pack("<4sIHQ", b"MNT1", 0, 1, 1 << 63))


def test_a_frame_that_promises_endless_nested_lists_ends_soon():
    start = time.monotonic()
    with pytest.raises(FrameError):
        received(frame(b"\xdd\x00\x01\x00\x00" * 900 + bytes(1 << 16)))
    with pytest.raises(FrameError):
        received(frame(b"\x91" * 100_000))
    assert time.monotonic() - start < 5
