"""Tables to the JSON that HTTP answers: rows as in results/, errors as in errors/, documents as in documents/."""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from jobs.serving.models import Served
from stages.base import Row, set_column
from stages.columns import COLUMNS, documents_schema, results_schema
from stages.errors import Code, Failure

ERROR_COLUMNS = ("uri", "page", "record", "stage", "code", "message")
"""What is told of a row that failed; its detail is in the log, since it may name what is nobody's business."""

log = logging.getLogger("ray.serve")


@dataclass(kw_only=True)
class Answer:
    """What has come out so far of one request."""

    served: Served
    request_id: str
    rows: list[Row] = field(default_factory=list)
    errors: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    tokens: int = 0
    pages: int | None = None
    """Pages of the document; None for rows."""
    doc_id: str | None = None
    _best: dict[int, Row] = field(default_factory=dict)
    """The document's folded answer so far, by record."""
    _uri: str = ""

    def add(self, table: pa.Table) -> tuple[list[Row], list[Row]]:
        """Takes the rows of ``table``, healthy and failed; returns both as JSON has them. Pages come in order."""
        failed = pc.is_valid(table["failure"])
        rows = self._results(table.filter(pc.invert(failed)))
        errors = self._errors(table.filter(failed))
        self.rows += rows
        self.errors += errors
        return rows, errors

    def documents(self) -> list[Row]:
        """The document's rows, as in documents/: one a record where its answers combine, else one."""
        status = "failed" if not self.rows else "partial" if self.errors else "ok"
        head: Row = {
            "uri": self._uri,
            "source": "request",
            "doc_id": self.doc_id,
            "pages": self.pages,
            "status": status,
        }
        sign: Row = {"fingerprint": self.served.fingerprint, "run_id": self.request_id, "at": datetime.now(UTC)}
        combined = self.served.task.combines
        each: list[Row] = [
            {**head, **sign, "record": record, **{name: best.get(name) for name in combined}}
            for record, best in sorted(self._best.items())
        ]
        schema = documents_schema(combined)
        return _plain(pa.Table.from_pylist(each or [{**head, **sign}], schema=schema).to_pylist())

    def _results(self, table: pa.Table) -> list[Row]:
        run = pa.repeat(pa.scalar(self.request_id, pa.string()), table.num_rows)
        table = set_column(table, "run_id", run)
        names = results_schema(self.served.task.writes).names
        rows = table.select(names).to_pylist() if table.num_rows else []
        self._fold(rows)
        return _plain(rows)

    def _fold(self, rows: Sequence[Row]) -> None:
        task = self.served.task
        if self.pages is None or not task.combines:
            return
        for row in rows:
            record = row["record"]
            assert isinstance(record, int)
            self._best[record] = task.combine(self._best[record], row) if record in self._best else row

    def _errors(self, table: pa.Table) -> list[Row]:
        names = ("uri", "page", "record", "failure")
        errors = []
        for row in table.select([name for name in names if name in table.column_names]).to_pylist():
            failure = row["failure"]
            told = Failure(**{**failure, "code": Code(failure["code"])})
            self.failures.append(told)
            log.info("%s in %s: %s %s id=%s", told.code, told.stage, told.message, told.detail, self.request_id)
            errors.append({name: row.get(name, failure.get(name)) for name in ERROR_COLUMNS})
        return errors

    def saw_document(self, table: pa.Table) -> None:
        """Notes whose pages these are."""
        first = table.select(["uri", "doc_id", "pages"]).slice(0, 1).to_pylist()[0]
        self._uri, self.doc_id, self.pages = first["uri"], first["doc_id"] or self.doc_id, first["pages"] or 0


def head_columns(count: int, uris: Sequence[str]) -> dict[str, pa.Array]:
    """The head of rows from a request: what a table's rows would have."""
    return {
        "uri": pa.array(uris, pa.string()),
        "source": pa.array(["request"] * count, pa.string()),
        "doc_id": pa.nulls(count, pa.string()),
        "pages": pa.array([count] * count, COLUMNS["pages"].type),
        "page": pa.array([1] * count, COLUMNS["page"].type),
        "record": pa.array(range(count), COLUMNS["record"].type),
    }


def to_json(value: object) -> bytes:
    """JSON in UTF-8; a number that JSON has no word for (NaN, infinity) is null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(rows: list[Row]) -> list[Row]:
    """Values that JSON has no word for, in those that it has."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, bytes):
                row[name] = base64.b64encode(value).decode()
            elif isinstance(value, datetime):
                row[name] = value.isoformat()
    return rows
