"""The guard around the routes, without Ray: time, errors, streams that break off, a stop."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from jobs.serving.guard import LINES, Gate, Guard
from jobs.serving.keys import Key, digest
from jobs.serving.settings import Endpoint

KEY = "k" * 30


class Called:
    """One request through a guard to an application, and what came out."""

    def __init__(self, app, *, path="/v1/x", headers=(), query=b"", bodies=(b"{}",), keys=(), **limits):
        self.endpoint = Endpoint(**limits)
        self.gate = Gate(self.endpoint)
        self.messages: list[dict] = []
        self.guard = Guard(app, self.endpoint, keys, self.gate)
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(b"x-request-id", b"r1"), *headers],
        }
        self.bodies = list(bodies)

    async def receive(self):
        return {"type": "http.request", "body": self.bodies.pop(0), "more_body": bool(self.bodies)}

    async def send(self, message):
        self.messages.append(message)

    def run(self):
        asyncio.run(self.guard(self.scope, self.receive, self.send))
        assert (self.gate.requests, self.gate.bytes) == (0, 0), "nothing stays counted"
        return self

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def code(self) -> str:
        return json.loads(self.body.splitlines()[-1])["error"]["code"]


async def fine(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def slow(scope, receive, send):
    await asyncio.sleep(60)


async def buggy(scope, receive, send):
    raise RuntimeError("secret")


async def lines(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", LINES)]})
    await send({"type": "http.response.body", "body": b'{"row": 1}\n', "more_body": True})
    await asyncio.sleep(60)


def test_what_takes_too_long_is_told():
    called = Called(slow, timeout_s=0.05).run()
    assert (called.status, called.code) == (408, "timeout")


def test_lines_that_break_off_end_with_their_reason():
    called = Called(lines, timeout_s=0.05).run()
    assert called.status == 200
    assert called.body.splitlines()[0] == b'{"row": 1}'
    assert called.code == "timeout"


def test_a_bug_is_told_without_its_words(caplog):
    with caplog.at_level(logging.INFO, "ray.serve"):
        called = Called(buggy).run()
    assert (called.status, called.code) == (500, "internal")
    assert b"secret" not in called.body
    assert any("secret" in (record.exc_text or "") or record.exc_info for record in caplog.records)


def test_a_body_is_counted_as_it_comes():
    blocks = 5 * [400_000 * b"x"]
    called = Called(fine, bodies=blocks, body_mb=1, queue_mb=1).run()
    assert (called.status, called.code) == (429, "busy")
    called = Called(fine, bodies=blocks, body_mb=1, queue_mb=50).run()
    assert (called.status, called.code) == (413, "too_large")
    assert len(called.bodies) == 2, "no more was read"
    assert Called(fine, bodies=blocks[:2], body_mb=1).run().status == 200


@pytest.mark.parametrize("length", [b"1000001", b"-1", b"x", b"9" * 5000])
def test_a_length_is_believed_where_it_is_too_large(length):
    called = Called(fine, headers=[(b"content-length", length)], bodies=[], body_mb=1).run()
    assert called.status == 413


def test_the_log_names_the_holder_and_never_the_key(caplog):
    keys = [Key(name="alice", digest=digest(KEY))]
    with caplog.at_level(logging.INFO, "ray.serve"):
        good = Called(fine, headers=[(b"authorization", b"bearer " + KEY.encode())], keys=keys).run()
        bad = Called(fine, headers=[(b"authorization", b"Bearer " + KEY[1:].encode())], keys=keys).run()
        Called(fine, query=b"q=" + KEY.encode(), keys=keys).run()
    assert (good.status, bad.status) == (200, 401)
    assert KEY not in caplog.text
    assert "POST /v1/x 200" in caplog.text
    assert "key=alice id=r1" in caplog.text


def test_paths_of_the_inference_protocol_have_errors_of_their_own():
    called = Called(buggy, path="/v2/models/m/infer").run()
    assert json.loads(called.body) == {"error": "internal: a bug: the log has the request id"}


def test_a_stop_waits_for_what_is_under_way_and_lets_nothing_in():
    async def scenario():
        called = Called(fine)
        release = asyncio.Event()

        async def held(scope, receive, send):
            await release.wait()
            await fine(scope, receive, send)

        called.guard = Guard(held, called.endpoint, (), called.gate)
        first = asyncio.create_task(called.guard(called.scope, called.receive, called.send))
        await asyncio.sleep(0.01)
        drained = asyncio.create_task(called.gate.drain())
        await asyncio.sleep(0.01)
        second = Called(fine)
        await Guard(fine, called.endpoint, (), called.gate)(second.scope, second.receive, second.send)
        assert (second.status, second.code) == (503, "unavailable")
        assert not drained.done()
        release.set()
        await asyncio.wait_for(drained, 5)
        await first
        assert called.status == 200

    asyncio.run(scenario())


def test_web_sockets_are_closed():
    called = Called(fine)
    called.scope["type"] = "websocket"
    called.run()
    assert called.messages == [{"type": "websocket.close", "code": 1008}]
