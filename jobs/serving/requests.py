"""What a request carries, to typed rows or to a document with fields. Trusts nothing of it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from jobs.serving.answers import head_columns
from jobs.serving.refusals import Refused
from jobs.serving.settings import Endpoint
from jobs.ways_in import columns_of
from pipelines import Task
from stages.base import failures_column
from stages.columns import COLUMNS, SENSED
from stages.errors import Code, Failure, RowError
from stages.fetch import path_of
from stages.tables import Columns, typed

FIELDS = 50
"""Most fields of a form."""
FIELD_BYTES = 1_000_000
"""Longest field of a form that is no file."""
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")
_KEY_COLUMNS = ("uri",)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A document, and columns that each of its pages gets."""

    name: str
    data: bytes
    fields: pa.Table
    """One row of them."""


def parse_json(body: bytes) -> object:
    """JSON, or Refused. Raises nothing else, whatever the bytes are."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("bad_request", f"the body is no JSON: {_line(error)}") from error


def rows_of(value: object, task: Task, endpoint: Endpoint) -> pa.Table:
    """``{"rows": […]}`` as a table with the task's columns; rows that do not fit carry their failure."""
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not rows:
        columns = ", ".join((*task.reads, *(f"({name})" for name in task.optional)))
        raise Refused("bad_request", f'send {{"rows": [{{…}}]}} with the columns {columns}')
    if len(rows) > endpoint.rows:
        raise Refused("too_large", f"{len(rows)} rows, serve.rows is {endpoint.rows}")
    return typed_rows(rows, columns_of(task))


def typed_rows(rows: list[object], columns: Columns) -> pa.Table:
    """Rows as batch reads them of a table. What no column of the task is called is left out, as there."""
    decoded = [_decoded(row, columns) for row in rows]
    arrays, failures = typed(decoded, (*columns.all, "uri"), columns)
    uris = arrays.pop("uri").fill_null("request").to_pylist()
    head = head_columns(len(rows), uris)
    return pa.table({**head, **arrays, "failure": failures_column(failures)})


def _decoded(row: object, columns: Columns) -> dict[str, object] | RowError:
    if not isinstance(row, dict):
        return RowError(Code.DECODE_FAILED, f"a row must be a JSON object, not a {type(row).__name__}")
    found: dict[str, object] = {}
    for name in (*_KEY_COLUMNS, *columns.all):
        value = row.get(name)
        if value is not None and pa.types.is_binary(COLUMNS[name].type):
            try:
                value = from_base64(value, name)
            except RowError as error:
                return error
        found[name] = value
    return found


def from_base64(value: object, name: str) -> bytes:
    """The bytes of a binary column. An image is never taken by its path: that would be a file of this machine."""
    if not isinstance(value, str):
        raise RowError(Code.ENCODE_FAILED, f"the column {name!r} must be base64 text")
    try:
        data = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError(Code.ENCODE_FAILED, f"the column {name!r} is no base64: {_line(error)}") from error
    if name in SENSED.values() and path_of(data) is not None:
        raise RowError(Code.ENCODE_FAILED, f"the column {name!r} must hold a file in base64; no path is taken")
    return data


async def upload_of(request: Request, task: Task, endpoint: Endpoint) -> Upload:
    """The one file of a multipart form, and its other fields as columns of the task."""
    try:
        form = await request.form(max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES)
    except HTTPException as error:
        raise Refused("bad_request", f"the form cannot be read: {error.detail}") from error
    try:
        files = [(name, one) for name, one in form.multi_items() if isinstance(one, UploadFile)]
        if len(files) != 1:
            raise Refused("bad_request", "send one file, in a field called file")
        file = files[0][1]
        name = file_name(file.filename or "")
        data = await file.read(endpoint.body_bytes + 1)
        if len(data) > endpoint.body_bytes:
            raise Refused("too_large", f"the file is larger than serve.body_mb, {endpoint.body_mb:g} MB")
        texts = {name: one for name, one in form.multi_items() if isinstance(one, str)}
    finally:
        await form.close()
    return Upload(name=name, data=data, fields=_fields(texts, task))


def file_name(name: str) -> str:
    """The file's own name, as rows call it. Raises Refused for one with a folder in it."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise Refused("bad_request", "the file's name must be a plain name, without a folder or control characters")
    return name.encode("utf-8", "replace").decode()


def _fields(texts: Mapping[str, str], task: Task) -> pa.Table:
    """The form's fields as columns: text as it is, others as JSON. Raises Refused for one that the task has not."""
    known = [name for name in (*task.reads, *task.optional) if not pa.types.is_binary(COLUMNS[name].type)]
    columns = {}
    for name, text in texts.items():
        if name not in known:
            raise Refused("bad_request", f"no field {name!r}: the task reads {', '.join(known)}")
        kind = COLUMNS[name].type
        value = text if pa.types.is_string(kind) else parse_json(text.encode("utf-8", "replace"))
        arrays, failures = typed([{name: value}], [name], Columns(needs=()))
        if failures[0] is not None:
            raise refused_field(failures[0])
        columns[name] = arrays[name]
    return pa.table(columns)


def refused_field(failure: Failure) -> Refused:
    """A form's field that is of another type."""
    return Refused(str(failure.code), failure.message, status=422, stage=failure.stage)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
