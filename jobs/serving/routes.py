"""The HTTP routes: our own, with rows as in batch; the other protocols' are in ``protocols``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException

from jobs.serving.answering import Answering, Found, check_task
from jobs.serving.answers import Answer, to_json
from jobs.serving.guard import Gate
from jobs.serving.models import Served
from jobs.serving.refusals import Refused, refused
from jobs.serving.requests import Upload, asked_of, document_or_row, form_of, parse_json, rows_of
from jobs.serving.settings import Endpoint
from stages.base import Row

LINES = "application/x-ndjson"
READY_S = 5.0
"""How long /readyz waits for the processes."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the routes need."""

    endpoint: Endpoint
    served: Mapping[str, Served]
    """By name, in the order of the config."""
    answering: Answering
    gate: Gate
    since: int = 0
    """When this replica began, in seconds since 1970."""

    def model(self, name: str) -> Served:
        """The model called so. Raises Refused that lists what there is."""
        if name not in self.served:
            raise Refused("no_such_thing", f"no model {name!r}; there are: {', '.join(self.served)}")
        return self.served[name]

    def task(self, family: str, task: str, name: str | None) -> Served:
        """The model of a family and task, the first in the config where none is named. Raises Refused."""
        found = [one for one in self.served.values() if (one.family, one.task.name) == (family, task)]
        if name is not None:
            found = [one for one in found if one.name == name]
        if not found:
            there = ", ".join(dict.fromkeys(f"/v1/{one.family}/{one.task.name}" for one in self.served.values()))
            raise Refused("no_such_thing", f"no model {name or ''} of {family} {task}; there are: {there}")
        return found[0]


class Json(Response):
    """JSON that may hold what Python's numbers can."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The bytes."""
        return to_json(content)


def add_routes(app: FastAPI, site: Site) -> None:
    """Health, models, and the tasks."""

    @app.get("/healthz", tags=["health"])
    async def healthz() -> Response:
        """Whether this process answers."""
        return Json({"status": "ok"})

    @app.get("/readyz", tags=["health"])
    async def readyz() -> Response:
        """Whether every model is loaded and new requests are taken."""
        return await ready(site)

    @app.get("/v1/models", tags=["models"])
    async def models() -> Response:
        """The models, their tasks, and the columns that they read and answer."""
        return Json({"object": "list", "data": [described(one, site.since) for one in site.served.values()]})

    @app.post("/v1/{family}/{task}", tags=["models"], openapi_extra=ROWS_OR_FILE)
    async def answer(request: Request, family: str, task: str, model: str | None = None) -> Response:
        """Rows, or a document, image, recording or video, to the rows that `manta run` writes for them.

        `/v1/models` tells the columns that a task reads. A form has either one `file`, whose pages each get the other
        fields as columns, or a file in the field of each column that holds one, such as `image` and `query_image`: that
        is a row. `model` names one where several share a family and task. With `Accept: application/x-ndjson` a
        document's pages come as JSON lines, each as soon as it is ready, the document's own row last.
        """
        served = site.task(family, task, model)
        found = Answer(served=served, request_id=request.state.request_id)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            sent = document_or_row(await form_of(request, site.endpoint), served.columns)
            if isinstance(sent, Upload):
                return await _document(request, site, found, sent)
            await site.answering.rows(found, sent, request.state.deadline)
            return _all(found)
        if kind not in ("application/json", ""):
            raise Refused("unsupported_type", f"send application/json or multipart/form-data, not {kind[:100]}")
        body = await request.body()
        table = await asyncio.to_thread(lambda: rows_of(parse_json(body), served.columns, site.endpoint))
        await site.answering.rows(found, table, request.state.deadline)
        return _all(found)


async def ready(site: Site) -> Response:
    """200 where every model's processes answer, else 503."""
    if site.gate.draining:
        raise Refused("unavailable", "the endpoint is stopping", retry_after=5)
    try:
        async with asyncio.timeout(READY_S):
            names = await site.answering.ready()
    except TimeoutError as error:
        raise Refused("unavailable", "not every process is up", retry_after=2) from error
    return Json({"status": "ready", "models": names})


def described(one: Served, since: int) -> dict[str, object]:
    """A model, with what OpenAI's clients want to know of it."""
    task = one.task
    about: dict[str, object] = {"id": one.name, "object": "model", "created": since, "owned_by": "manta"}
    needed, optional = asked_of(one.columns)
    columns = {"reads": needed, "optional": optional, "writes": task.writes, "combines": task.combines}
    made = {"checkpoint": task.checkpoint.ref, "fingerprint": one.fingerprint}
    return {**about, "family": one.family, "task": task.name, "summary": task.summary, **made, **columns}


async def _document(request: Request, site: Site, found: Answer, upload: Upload) -> Response:
    check_task(found.served, upload)
    pages = site.answering.pages(found, upload, request.state.deadline)
    if LINES in request.headers.get("accept", ""):
        first = await anext(pages, None)
        if first is None or not found.pages:  # nobody opens it: an answer of its own, not a line
            return _all(found)
        return StreamingResponse(_lines(found, first, pages), media_type=LINES)
    async for _ in pages:
        pass
    return _all(found, documents=found.documents())


async def _lines(found: Answer, first: Found, pages: AsyncIterator[Found]) -> AsyncIterator[bytes]:
    """A line a row, error and document."""
    for line in _told_lines(first):
        yield line
    async for more in pages:
        for line in _told_lines(more):
            yield line
    for row in found.documents():
        yield to_json({"document": row}) + b"\n"


def _told_lines(found: Found) -> list[bytes]:
    rows, errors = found
    return [to_json(one) + b"\n" for one in (*({"row": row} for row in rows), *({"error": one} for one in errors))]


def _all(found: Answer, documents: Sequence[Row] = ()) -> Response:
    """Everything at once. Raises Refused where nothing came out but failures."""
    if not found.rows and found.failures:
        raise refused(found.failures[0])
    return Json({"rows": found.rows, "errors": found.errors, "documents": list(documents)})


def add_errors(app: FastAPI) -> None:
    """Every error as JSON."""

    async def answer(request: Request, error: Exception) -> Response:
        told = error if isinstance(error, Refused) else _told(error)
        request_id = getattr(request.state, "request_id", request.headers.get("x-request-id", ""))
        return Json(told.body(request_id, request.url.path), status_code=told.status, headers=told.headers())

    for kind in (Refused, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)


def _told(error: Exception) -> Refused:
    if isinstance(error, HTTPException):
        code = "no_such_thing" if error.status_code == 404 else "bad_request"
        return Refused(code, str(error.detail), status=error.status_code)
    if isinstance(error, RequestValidationError):
        return Refused("bad_request", "the request does not fit: see /docs", status=422)
    return Refused("internal", "a bug: the log has the request id")


def api() -> FastAPI:
    """The application without routes."""
    return FastAPI(
        title="Manta",
        version=version("manta"),
        description="Hugging Face model families; the rows are those of `manta run`.",
        docs_url="/docs",
        redoc_url=None,
    )


_OBJECTS: dict[str, object] = {"type": "array", "items": {"type": "object"}}
ROWS_OR_FILE: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "properties": {
                        "rows": {**_OBJECTS, "description": "columns by name; a file (image, audio, video) in base64"}
                    },
                },
                "example": {"rows": [{"text": "A fine day."}]},
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "question": {"type": "string"},
                        "candidate_labels": {"type": "string", "description": "lists in JSON"},
                    },
                },
            },
        },
    },
    "responses": {
        "200": {
            "description": "Rows as in results/, those that failed as in errors/, documents as in documents/. Binary "
            "columns, such as depth_png, are base64.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": dict.fromkeys(("rows", "errors", "documents"), _OBJECTS),
                    },
                },
                "application/x-ndjson": {"schema": {"type": "string", "description": "row, error or document a line"}},
            },
        },
    },
}
