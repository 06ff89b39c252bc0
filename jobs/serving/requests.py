"""What a request carries, to typed rows or to a document with fields. Trusts nothing of it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from jobs.serving.answers import head_columns
from jobs.serving.refusals import Refused
from jobs.serving.settings import Endpoint
from stages.base import failures_column
from stages.columns import COLUMNS, SENSED
from stages.errors import Code, Failure, RowError, first_line
from stages.fetch import path_of
from stages.table_columns import Columns
from stages.table_rows import picked
from stages.tables import typed

FILES, FIELDS = 4, 50
"""Most files and most fields of a form."""
FIELD_BYTES = 1_000_000
"""Longest field of a form that is no file."""
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a form."""

    field: str
    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Form:
    """A multipart form."""

    files: Sequence[File]
    texts: Mapping[str, str]
    """The fields that are no files."""


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
        raise Refused("bad_request", f"the body is no JSON: {first_line(error, 200)}") from error


def asked_of(columns: Columns) -> tuple[list[str], list[str]]:
    """What requests call the columns that a task needs, and those that it uses where they are there."""
    optional = dict.fromkeys((*columns.optional, *columns.instead.values()))
    return [columns.called(name) for name in columns.needs], [columns.called(name) for name in optional]


def rows_of(value: object, columns: Columns, endpoint: Endpoint) -> pa.Table:
    """``{"rows": […]}`` as a table with a task's columns; rows that do not fit carry their failure."""
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not rows:
        needed, optional = asked_of(columns)
        names = ", ".join((*needed, *(f"({name})" for name in optional)))
        raise Refused("bad_request", f'send {{"rows": [{{…}}]}} with the columns {names}')
    if len(rows) > endpoint.rows:
        raise Refused("too_large", f"{len(rows)} rows, serve.rows is {endpoint.rows}")
    return typed_rows(rows, columns)


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
    found = picked(row, columns)
    try:
        return {name: from_base64(value, name) if _is_binary(name) else value for name, value in found.items()}
    except RowError as error:
        return error


def _is_binary(name: str) -> bool:
    return bool(pa.types.is_binary(COLUMNS[name].type))


def from_base64(value: object, name: str) -> bytes:
    """The bytes of a binary column; those of a form's file as they are.

    No file is ever taken by its path: that would be one of this machine.
    """
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, str):
        try:
            data = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RowError(Code.ENCODE_FAILED, f"the column {name!r} is no base64: {first_line(error, 200)}") from error
    else:
        raise RowError(Code.ENCODE_FAILED, f"the column {name!r} must be base64 text")
    if name in SENSED.values() and path_of(data) is not None:
        raise RowError(Code.ENCODE_FAILED, f"the column {name!r} must hold a file in base64; no path is taken")
    return data


async def form_of(request: Request, endpoint: Endpoint) -> Form:
    """The multipart form of a request. Raises Refused."""
    try:
        form = await request.form(max_files=FILES, max_fields=FIELDS, max_part_size=FIELD_BYTES)
    except HTTPException as error:
        raise Refused("bad_request", f"the form cannot be read: {error.detail}") from error
    try:
        parts = form.multi_items()
        files = [await _file(name, one, endpoint) for name, one in parts if isinstance(one, UploadFile)]
        return Form(files=files, texts={name: one for name, one in parts if isinstance(one, str)})
    finally:
        await form.close()


async def _file(field: str, file: UploadFile, endpoint: Endpoint) -> File:
    name = file_name(file.filename or "")
    data = await file.read(endpoint.body_bytes + 1)
    if len(data) > endpoint.body_bytes:
        raise Refused("too_large", f"the file is larger than serve.body_mb, {endpoint.body_mb:g} MB")
    return File(field=field, name=name, data=data)


def document_or_row(form: Form, columns: Columns) -> Upload | pa.Table:
    """A form with one file is a document, with columns for each of its pages in the other fields; one whose files stand
    each in the field of a column is a row. Raises Refused."""
    binary = {columns.called(name): name for name in columns.all if _is_binary(name)}
    fields = _fields(form.texts, columns)
    if form.files and all(one.field in binary for one in form.files):
        row = {columns.called(name): fields[name][0].as_py() for name in fields.column_names}
        row |= {one.field: one.data for one in form.files}
        return typed_rows([{"uri": form.files[0].name, **row}], columns)
    if len(form.files) != 1:
        raise Refused("bad_request", f"send one file, in a field called {' or '.join(('file', *binary))}")
    return Upload(name=form.files[0].name, data=form.files[0].data, fields=fields)


def file_name(name: str) -> str:
    """The file's own name, as rows call it. Raises Refused for one with a folder in it."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise Refused("bad_request", "the file's name must be a plain name, without a folder or control characters")
    return name.encode("utf-8", "replace").decode()


def _fields(texts: Mapping[str, str], columns: Columns) -> pa.Table:
    """The form's fields as columns: text as it is, others as JSON. Raises Refused for one that the task has not."""
    known = {columns.called(name): name for name in columns.all if not _is_binary(name)}
    found = {}
    for field, text in texts.items():
        if field not in known:
            raise Refused("bad_request", f"no field {field!r}: the task reads {', '.join(known) or 'none'}")
        name = known[field]
        value = text if pa.types.is_string(COLUMNS[name].type) else parse_json(text.encode("utf-8", "replace"))
        arrays, failures = typed([{name: value}], [name], Columns(needs=()))
        if failures[0] is not None:
            raise refused_field(failures[0])
        found[name] = arrays[name]
    return pa.table(found)


def refused_field(failure: Failure) -> Refused:
    """A form's field that is of another type."""
    return Refused(str(failure.code), failure.message, status=422, stage=failure.stage)
