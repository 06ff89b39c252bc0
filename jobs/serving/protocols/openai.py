"""OpenAI's API where it fits: ``/v1/embeddings`` for texts to vectors, ``/v1/audio/transcriptions`` for speech to text
(https://platform.openai.com/docs/api-reference). What cannot be honoured is refused, not passed over."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from jobs.serving.answers import Answer
from jobs.serving.models import Served
from jobs.serving.refusals import Refused, refused
from jobs.serving.requests import Upload, form_of, parse_json, rows_of
from jobs.serving.routes import Json, Site

FORMATS = ("json", "text")
"""Values of response_format that transcriptions take."""


def add_routes(app: FastAPI, site: Site) -> None:
    """The two routes."""

    @app.post("/v1/embeddings", tags=["openai"], openapi_extra=_EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        """Texts to vectors."""
        asked = parse_json(await request.body())
        if not isinstance(asked, dict):
            raise Refused("bad_request", "the body must be a JSON object with input and model")
        served = _named(site, asked.get("model"), "text", "vector")
        texts = [asked["input"]] if isinstance(asked.get("input"), str) else asked.get("input")
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise Refused("bad_request", "input must be a text or a list of texts")
        if asked.get("dimensions") is not None:
            raise Refused("bad_request", "dimensions: the model's vectors have a length of their own")
        table = rows_of({"rows": [{"text": one} for one in texts]}, served.columns, site.endpoint)
        found = Answer(served=served, request_id=request.state.request_id)
        await site.answering.rows(found, table, request.state.deadline)
        if found.failures:
            raise refused(found.failures[0])
        as_text = asked.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": n, "embedding": _packed(row["vector"]) if as_text else row["vector"]}
            for n, row in enumerate(found.rows)
        ]
        usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
        return Json({"object": "list", "data": data, "model": served.name, "usage": usage})

    @app.post("/v1/audio/transcriptions", tags=["openai"], openapi_extra=_TRANSCRIPTIONS)
    async def transcriptions(request: Request) -> Response:
        """Speech to text. Times of words are in the rows of `/v1/{family}/{task}`."""
        form = await form_of(request, site.endpoint)
        served = _named(site, form.texts.get("model"), "sound", "text")
        style = _format(form.texts)
        if [one.field for one in form.files] != ["file"]:
            raise Refused("bad_request", "send one recording, in a field called file")
        found = Answer(served=served, request_id=request.state.request_id)
        upload = Upload(name=form.files[0].name, data=form.files[0].data, fields=pa.table({}))
        async for _ in site.answering.pages(found, upload, request.state.deadline):
            pass
        if found.failures:
            raise refused(found.failures[0])
        text = " ".join(str(row["text"]) for row in found.rows)
        return Json({"text": text}) if style == "json" else PlainTextResponse(f"{text}\n")


def _format(fields: Mapping[str, str]) -> str:
    """The response_format of a transcription. Raises Refused for a field that asks for what there is not."""
    told = {"model", "response_format"}
    asked = {name: value for name, value in fields.items() if name not in told and _asks(name, value)}
    for name in asked:
        raise Refused("bad_request", f"{name[:100]} cannot be followed here: leave it out")
    style = fields.get("response_format", FORMATS[0])
    if style not in FORMATS:
        hint = "times of words are in the rows of /v1/FAMILY/TASK"
        raise Refused("bad_request", f"response_format must be {' or '.join(FORMATS)}, not {style[:100]!r}: {hint}")
    return style


def _asks(name: str, value: str) -> bool:
    """Whether a field asks for anything: clients send some as they are by default."""
    return (name, value) not in {("temperature", "0"), ("temperature", "0.0"), ("stream", "false")}


def _named(site: Site, name: object, reads: str, writes: str) -> Served:
    """The model of that name, or the first that makes one column of the other. Raises Refused."""
    if isinstance(name, str) and name:
        served = site.model(name)
        if not _makes(served, reads, writes):
            raise Refused("bad_request", f"{name} answers {served.task.name}: it makes no {writes} of {reads}")
        return served
    for served in site.served.values():
        if _makes(served, reads, writes):
            return served
    raise Refused("no_such_thing", f"no model here makes {writes} of {reads}")


def _makes(served: Served, reads: str, writes: str) -> bool:
    task = served.task
    alone = set(task.reads) <= {reads} and reads in (*task.reads, *task.optional)
    return alone and writes in task.writes


def _packed(vector: object) -> str:
    """float32, little endian, in base64."""
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


_EMBEDDINGS: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["input"],
                    "properties": {
                        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                        "model": {"type": "string"},
                        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
                    },
                },
            },
        },
    },
}
_TRANSCRIPTIONS: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "response_format": {"type": "string", "enum": list(FORMATS)},
                    },
                },
            },
        },
    },
}
