"""What stands before every route: keys, limits, time, the queue, request ids, one log line a request.

Refused as soon as it can be told, before a body is read: headers above ``HEADER_BYTES`` (431), a key in the URL (400),
no key or a wrong one (401), a compressed body (415: nothing is unpacked here, so no bomb goes off), a declared length
above serve.body_mb (413), more requests at once than serve.queue (429). While the body comes: more bytes than
serve.body_mb (413) or serve.queue_mb in all (429). In the end: more than serve.timeout_s (408).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from jobs.serving.answers import to_json
from jobs.serving.keys import Key, holder
from jobs.serving.refusals import Refused
from jobs.serving.settings import Endpoint

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER_BYTES = 16_384
"""Names and values of all headers of a request, and its URL."""
OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"})
"""Paths without a key and without a queue: they tell nothing of anyone's data."""
KEY_WORDS = frozenset(
    {"key", "api_key", "apikey", "api-key", "token", "access_token", "auth", "authorization", "bearer"}
)
LINES = b"application/x-ndjson"
log = logging.getLogger("ray.serve")


class Gate:
    """How much is under way in this replica; refuses what is too much."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.requests = 0
        self.bytes = 0
        self.draining = False
        self._seconds = 0.5
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self) -> None:
        """One more request. Raises Refused."""
        if self.draining:
            raise Refused("unavailable", "the endpoint is stopping", retry_after=5)
        if self.requests >= self._endpoint.queue:
            raise self._busy(f"{self.requests} requests are under way, serve.queue is {self._endpoint.queue}")
        self.requests += 1
        self._empty.clear()

    def leave(self, seconds: float, size: int) -> None:
        """A request is over: it took so long, and had so many bytes."""
        self.requests -= 1
        self.bytes -= size
        self._seconds += 0.1 * (seconds - self._seconds)
        if not self.requests:
            self._empty.set()

    def take(self, size: int) -> None:
        """So many more bytes of a body. Raises Refused; they count until the request leaves."""
        self.bytes += size
        if self.bytes > self._endpoint.queue_mb * 1e6:
            raise self._busy(f"requests under way hold more than serve.queue_mb, {self._endpoint.queue_mb:g} MB")

    async def drain(self) -> None:
        """Lets nothing in from now on, and waits for what is under way."""
        self.draining = True
        await self._empty.wait()

    def _busy(self, why: str) -> Refused:
        return Refused("busy", why, retry_after=min(60.0, self._seconds))


@dataclass(kw_only=True)
class _Call:
    """One request on its way."""

    request_id: str
    method: str
    path: str
    began: float
    holder: str = ""
    status: int = 0
    lines: bool = False
    """The answer is JSON lines, and has begun."""
    ended: bool = False
    size: int = 0
    """Bytes of the body so far."""


class Guard:
    """ASGI around the routes."""

    def __init__(self, app: App, endpoint: Endpoint, keys: Sequence[Key], gate: Gate) -> None:
        self._app, self._endpoint, self._keys, self._gate = app, endpoint, keys, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its headers to its log line."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        call = _Call(
            request_id=headers.get(b"x-request-id", b"").decode("latin-1")[:100],
            method=scope["method"],
            path=scope["path"],
            began=time.monotonic(),
        )
        watched = _watched(send, call)
        try:
            await self._answer(scope, receive, watched, call, headers)
        except Refused as error:
            await _refuse(watched, call, error)
        except TimeoutError:
            late = Refused("timeout", f"not answered within serve.timeout_s, {self._endpoint.timeout_s:g} s")
            await _refuse(watched, call, late)
        except Exception:
            log.exception("request %s failed", call.request_id)
            await _refuse(watched, call, Refused("internal", "a bug: the log has the request id"))
        finally:
            seconds = time.monotonic() - call.began
            level = logging.DEBUG if call.path in OPEN else logging.INFO
            words = (call.method, call.path, call.status, 1000 * seconds, call.holder or "-", call.request_id)
            log.log(level, "%s %s %s %.1f ms key=%s id=%s", *words)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, call: _Call, headers: dict[bytes, bytes]
    ) -> None:
        self._check_headers(scope)
        if call.path in OPEN:
            await self._app(scope, receive, send)
            return
        self._check_key(call, headers)
        self._check_body(headers)
        self._gate.enter()
        try:
            state = scope.setdefault("state", {})
            state["request_id"], state["deadline"] = call.request_id, time.time() + self._endpoint.timeout_s
            async with asyncio.timeout(self._endpoint.timeout_s):
                await self._app(scope, self._counted(receive, call), send)
        finally:
            self._gate.leave(time.monotonic() - call.began, call.size)

    def _check_headers(self, scope: Scope) -> None:
        url = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if sum(len(name) + len(value) for name, value in scope["headers"]) + url > HEADER_BYTES:
            raise Refused("headers_too_large", f"the headers and the URL have more than {HEADER_BYTES} bytes")
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            if name.lower() in KEY_WORDS or (self._keys and holder(value, self._keys)):
                raise Refused("key_in_url", "keys belong into the header Authorization: Bearer, not into a URL")

    def _check_key(self, call: _Call, headers: dict[bytes, bytes]) -> None:
        if not self._keys:
            return
        kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        found = holder(key.strip(), self._keys)
        if kind.lower() != "bearer" or found is None:
            raise Refused("unauthorized", "no key, or a wrong one: send Authorization: Bearer KEY")
        call.holder = found

    def _check_body(self, headers: dict[bytes, bytes]) -> None:
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused("unsupported_type", "the body is compressed: send it as it is")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._endpoint.body_bytes:
            raise self._too_large()

    def _counted(self, receive: Receive, call: _Call) -> Receive:
        async def counted() -> Message:
            message = await receive()
            size = len(message.get("body", b""))
            call.size += size
            self._gate.take(size)
            if call.size > self._endpoint.body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> Refused:
        return Refused("too_large", f"the body is larger than serve.body_mb, {self._endpoint.body_mb:g} MB")


def _watched(send: Send, call: _Call) -> Send:
    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
            call.lines = (b"content-type", LINES) in message["headers"]
        elif message["type"] == "http.response.body":
            call.ended = not message.get("more_body", False)
        await send(message)

    return watched


async def _refuse(send: Send, call: _Call, error: Refused) -> None:
    """Answers with an error; where lines have gone out already, as the last one."""
    body = to_json(error.body(call.request_id, call.path))
    if not call.status:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in error.headers().items()]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
    elif not call.ended:
        await send({"type": "http.response.body", "body": body + b"\n" if call.lines else b""})
