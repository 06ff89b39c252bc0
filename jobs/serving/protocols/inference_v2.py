"""Open Inference Protocol v2 over HTTP, as Triton's client speaks it (https://github.com/kserve/open-inference-protocol).

A tensor is a column, its first axis the rows. Text is BYTES, numbers are FP32, INT32, INT64 or BOOL, ``vector`` is FP32
with the vector as its second axis, what is nested (words, boxes, entities) is JSON in BYTES, and an output file
(depth_png) is base64. A number that is null is -1. Inputs may come in the body's JSON or, as Triton's client sends
them, as binary behind it; outputs are JSON.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import pyarrow as pa
from fastapi import FastAPI, Request
from fastapi.responses import Response

from jobs.serving.answers import Answer
from jobs.serving.models import Served
from jobs.serving.refusals import Refused
from jobs.serving.requests import asked_of, parse_json, rows_of
from jobs.serving.routes import Json, Site, ready
from stages.base import Row
from stages.columns import COLUMNS
from stages.table_columns import Columns

_BINARY_LENGTH = "inference-header-content-length"
_DATATYPES: dict[pa.DataType, str] = {
    pa.float32(): "FP32",
    pa.int32(): "INT32",
    pa.int64(): "INT64",
    pa.bool_(): "BOOL",
}
_NUMPY = {
    "FP32": "<f4", "FP64": "<f8", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "BOOL": "?",
    "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
}  # fmt: skip


def add_routes(app: FastAPI, site: Site) -> None:
    """Metadata, readiness and inference."""

    @app.get("/v2", tags=["v2"])
    async def server() -> Response:
        """The server."""
        return Json({"name": "manta", "version": version("manta"), "extensions": ["binary_tensor_data"]})

    @app.get("/v2/health/live", tags=["v2"])
    async def live() -> Response:
        """Whether this process answers."""
        return Json({"live": True})

    @app.get("/v2/health/ready", tags=["v2"])
    async def all_ready() -> Response:
        """Whether every model is loaded."""
        return await ready(site)

    @app.get("/v2/models/{model}", tags=["v2"])
    @app.get("/v2/models/{model}/versions/{number}", tags=["v2"])
    async def metadata(model: str, number: str = "1") -> Response:
        """A model's tensors."""
        del number  # what is served is the newest
        return Json(described(site.model(model)))

    @app.get("/v2/models/{model}/ready", tags=["v2"])
    @app.get("/v2/models/{model}/versions/{number}/ready", tags=["v2"])
    async def model_ready(model: str, number: str = "1") -> Response:
        """Whether the model is loaded."""
        del number
        site.model(model)
        return await ready(site)

    @app.post("/v2/models/{model}/infer", tags=["v2"])
    @app.post("/v2/models/{model}/versions/{number}/infer", tags=["v2"])
    async def infer(request: Request, model: str, number: str = "1") -> Response:
        """Tensors to tensors."""
        del number
        served = site.model(model)
        asked, binary = _body(await request.body(), request.headers.get(_BINARY_LENGTH))
        rows = _rows(asked, binary, served.columns)
        table = rows_of({"rows": rows}, served.columns, site.endpoint)
        found = Answer(served=served, request_id=request.state.request_id)
        await site.answering.rows(found, table, request.state.deadline)
        if found.failures:
            one = found.failures[0]
            message = f"row {found.errors[0]['record']}: {one.code}: {one.message}"
            raise Refused(str(one.code), message, status=500 if one.code == "internal" else 422)
        outputs = [_output(name, [row[name] for row in found.rows]) for name in _wanted(asked, served)]
        about = {"model_name": model, "model_version": "1", "id": str(asked.get("id") or request.state.request_id)}
        return Json({**about, "outputs": outputs})


def described(served: Served) -> dict[str, object]:
    """The metadata of a model."""
    task = served.task
    needed, optional = asked_of(served.columns)
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in (*needed, *optional)]
    outputs = [
        {"name": name, "datatype": _datatype(name), "shape": [-1, -1] if _is_vector(name) else [-1]}
        for name in task.writes
    ]
    return {"name": served.name, "versions": ["1"], "platform": "manta", "inputs": inputs, "outputs": outputs}


def _datatype(name: str) -> str:
    return "FP32" if _is_vector(name) else _DATATYPES.get(COLUMNS[name].type, "BYTES")


def _is_vector(name: str) -> bool:
    """Whether a column holds numbers, of one length in all rows."""
    return name.endswith("vector") and COLUMNS[name].type == pa.list_(pa.float32())


def _body(body: bytes, length: str | None) -> tuple[Mapping[str, object], bytes]:
    """The JSON of a request, and the binary part behind it."""
    end = len(body)
    if length is not None:
        if not length.isdigit() or int(length[:12]) > end:
            raise Refused("bad_request", f"the header {_BINARY_LENGTH} is no length of a part of the body")
        end = int(length)
    asked = parse_json(body[:end])
    if not isinstance(asked, dict):
        raise Refused("bad_request", "the body must be a JSON object with inputs")
    return asked, body[end:]


def _rows(asked: Mapping[str, object], binary: bytes, of: Columns) -> list[Row]:
    """The inputs as rows."""
    known = {of.called(name): name for name in ("uri", *of.all)}
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise Refused("bad_request", "name inputs: [{name, datatype, shape, data}]")
    columns: dict[str, list[object]] = {}
    at = 0
    for one in inputs:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or one["name"] not in known:
            raise Refused("bad_request", "every input must have the name of a column: see /v2/models/MODEL")
        parameters = one.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            values = _flat(one.get("data"))
        elif type(size) is int and 0 <= size <= len(binary) - at:
            values = _binary(binary[at : at + size], str(one.get("datatype")))
            at += size
        else:
            raise Refused("bad_request", f"input {one['name']}: binary_data_size goes beyond the body")
        columns[one["name"]] = _values(known[one["name"]], values, str(one.get("datatype")))
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise Refused("bad_request", f"inputs of different lengths: {sorted(lengths)}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _flat(data: object) -> list[object]:
    """JSON data, which may be nested as the shape is."""
    if not isinstance(data, list):
        raise Refused("bad_request", "an input without binary data must have a list data")
    return [inner for one in data for inner in _flat(one)] if any(isinstance(one, list) for one in data) else data


def _binary(data: bytes, datatype: str) -> list[object]:
    if datatype == "BYTES":
        return list(_strings(data))
    if datatype not in _NUMPY or len(data) % np.dtype(_NUMPY[datatype]).itemsize:
        raise Refused("bad_request", f"binary data that is no {datatype[:20]}")
    found: list[object] = np.frombuffer(data, _NUMPY[datatype]).tolist()
    return found


def _strings(data: bytes) -> Iterator[bytes]:
    """Elements of a BYTES tensor: four bytes of length, little endian, then the element."""
    at = 0
    while at < len(data):
        end = at + 4 + (struct.unpack_from("<I", data, at)[0] if at + 4 <= len(data) else len(data))
        if end > len(data):
            raise Refused("bad_request", "an element of a BYTES tensor goes beyond its data")
        yield data[at + 4 : end]
        at = end


def _values(name: str, values: Sequence[object], datatype: str) -> list[object]:
    """Elements as values of the column: text as it is, binary as base64, what is nested out of its JSON."""
    kind = COLUMNS[name].type
    if datatype != "BYTES":
        return list(values)
    if pa.types.is_binary(kind):
        return [base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in values]
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in values]
    if pa.types.is_string(kind):
        return list(texts)
    return [parse_json(one.encode("utf-8", "replace")) if isinstance(one, str) else one for one in texts]


def _wanted(asked: Mapping[str, object], served: Served) -> Sequence[str]:
    """The outputs that were asked for; all where none was."""
    outputs = asked.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        return served.task.writes
    names = [one.get("name") if isinstance(one, dict) else None for one in outputs]
    for name in names:
        if name not in served.task.writes:
            raise Refused("bad_request", f"no output {str(name)[:100]!r}: there are {', '.join(served.task.writes)}")
    return [str(name) for name in names]


def _output(name: str, values: Sequence[object]) -> dict[str, object]:
    datatype = _datatype(name)
    shape = [len(values)]
    data: list[object]
    if _is_vector(name):
        vectors = [list(one) if isinstance(one, list) else [] for one in values]
        if len(set(map(len, vectors))) > 1:
            raise Refused("bad_request", f"some rows have no {name}: ask for rows alike, or for other outputs")
        shape.append(len(vectors[0]))
        data = [number for one in vectors for number in one]
    elif datatype == "BYTES":
        data = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in values]
    else:
        data = [-1 if one is None else one for one in values]
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
