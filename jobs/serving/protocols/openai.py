"""OpenAI's API where it fits: ``/v1/embeddings`` for features; ``/v1/audio/transcriptions`` once speech is served."""

from __future__ import annotations

import base64

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import Response

from jobs.serving.answers import Answer
from jobs.serving.models import Served
from jobs.serving.refusals import Refused, refused
from jobs.serving.requests import parse_json, rows_of
from jobs.serving.routes import Json, Site

EMBEDS, HEARS = "features", "automatic-speech-recognition"
"""The tasks behind the two routes."""


def add_routes(app: FastAPI, site: Site) -> None:
    """The two routes."""

    @app.post("/v1/embeddings", tags=["openai"])
    async def embeddings(request: Request) -> Response:
        """Texts to vectors."""
        asked = parse_json(await request.body())
        if not isinstance(asked, dict):
            raise Refused("bad_request", "the body must be a JSON object with input and model")
        served = _named(site, asked.get("model"), EMBEDS, "text")
        texts = [asked["input"]] if isinstance(asked.get("input"), str) else asked.get("input")
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise Refused("bad_request", "input must be a text or a list of texts")
        if asked.get("dimensions") is not None:
            raise Refused("bad_request", "dimensions: the model's vectors have a length of their own")
        table = rows_of({"rows": [{"text": one} for one in texts]}, served.task, site.endpoint)
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

    @app.post("/v1/audio/transcriptions", tags=["openai"])
    async def transcriptions(request: Request) -> Response:
        """Speech to text."""
        del request
        _named(site, None, HEARS, "audio")
        raise Refused("bad_request", f"send a file to the path of the task {HEARS}")


def _named(site: Site, name: object, task: str, column: str) -> Served:
    """The model of that name, or the first that does the task on such a column. Raises Refused."""
    if isinstance(name, str) and name:
        served = site.model(name)
        if served.task.name != task or column not in served.task.reads:
            raise Refused("bad_request", f"{name} answers {served.task.name}, not {task} of {column}")
        return served
    for served in site.served.values():
        if served.task.name == task and column in served.task.reads:
            return served
    raise Refused("no_such_thing", f"no model here answers {task} of {column}")


def _packed(vector: object) -> str:
    """float32, little endian, in base64."""
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
