"""``manta errors OUTPUT``: what failed, how often, what helps, and the command that tries again."""

from __future__ import annotations

import json
import shlex
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from jobs.report.output import Output, open_output
from stages.errors import REMEDIES, Code

_EXAMPLES = 3
_COLUMNS = ("uri", "page", "record", "stage", "code", "message", "detail", "attempts")


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """One row of the error table."""

    uri: str
    page: int | None
    """None where the whole document failed."""
    record: int | None
    stage: str
    message: str
    detail: str
    attempts: int

    @property
    def where(self) -> str:
        """The page or row, for people."""
        row = "" if self.record is None else f"row {self.record}"
        page = "" if self.page is None else f"page {self.page}"
        return ", ".join(filter(None, (page, row))) or "whole document"


@dataclass(kw_only=True)
class Cause:
    """All errors of one code."""

    code: str
    count: int = 0
    """Error rows."""
    documents: int = 0
    """Different documents among them."""
    remedy: str = ""
    examples: list[ErrorRow] = field(default_factory=list)
    """The first rows."""


def errors(output: str, *, as_json: bool) -> str:
    """What ``manta errors`` prints: text for people, or JSON. Raises UsageError where no run wrote ``output``."""
    opened = open_output(output)
    found = causes(opened, examples=_EXAMPLES)
    command = again(opened.run.command, [cause.code for cause in found])
    if as_json:
        told = [{**asdict(one), "retry": again(opened.run.command, [one.code])} for one in found]
        return json.dumps({"output": output, "errors": told, "retry": command if found else None}, indent=2)
    if not found:
        return f"No errors in {plain(output)}."
    return "\n".join([_summary(found, output), "", *_table(found), f"Try all of them again:\n  {plain(command)}"])


def causes(output: Output, *, examples: int = 100) -> list[Cause]:
    """The error table by code, most frequent first, with the first rows of each."""
    found: dict[str, Cause] = {}
    documents: dict[str, set[int]] = {}
    for block in output.scan("errors", _COLUMNS):
        rows = block.rows
        for i, (code, uri) in enumerate(zip(rows["code"].to_pylist(), rows["uri"].to_pylist(), strict=True)):
            cause = found.setdefault(code, Cause(code=code or "", remedy=remedy(code)))
            cause.count += 1
            documents.setdefault(code, set()).add(hash(uri))
            if len(cause.examples) < examples:
                cause.examples.append(_example(rows.slice(i, 1).to_pylist()[0]))
    for code, cause in found.items():
        cause.documents = len(documents[code])
    return sorted(found.values(), key=lambda cause: (-cause.count, cause.code))


def remedy(code: str | None) -> str:
    """What a person can do about a code; codes of a newer version are told as they are."""
    return REMEDIES[Code(code)] if code in set(Code) else "written by another version of Manta: see the message"


def again(command: str, codes: Iterable[str]) -> str:
    """The run's command with ``--retry`` for these codes, quoted for a shell."""
    try:
        words = shlex.split(command) if command else ["manta", "run", "…"]
    except ValueError:  # an unfinished quote: not a command that we wrote
        words = ["manta", "run", "…"]
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith("--retry="):
            kept += [] if word == "--retry" else [word]
        skip = word == "--retry"
    return " ".join(word if word == "…" else shlex.quote(word) for word in [*kept, "--retry", ",".join(codes)])


def plain(text: str) -> str:
    """Text from a document on one line, without control characters that a terminal would obey."""
    return "".join(letter if unicodedata.category(letter) not in ("Cc", "Cf", "Zl", "Zp") else " " for letter in text)


def _example(row: dict[str, object]) -> ErrorRow:
    page, record, attempts = (
        value if isinstance(value, int) else None for value in (row["page"], row["record"], row["attempts"])
    )
    texts = (str(row[name] or "") for name in ("uri", "stage", "message", "detail"))
    uri, stage, message, detail = texts
    return ErrorRow(
        uri=uri, page=page, record=record, stage=stage, message=message, detail=detail, attempts=attempts or 1
    )


def _summary(found: Sequence[Cause], output: str) -> str:
    return f"{_many(sum(cause.count for cause in found), 'error row')} in {plain(output)}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _table(found: Sequence[Cause]) -> list[str]:
    lines = []
    for cause in found:
        lines.append(f"{plain(cause.code)}  {_many(cause.count, 'row')} of {_many(cause.documents, 'document')}")
        lines += textwrap.wrap(cause.remedy, 100, initial_indent="  remedy: ", subsequent_indent="          ")
        for one in cause.examples:
            message = textwrap.shorten(plain(one.message), 160, placeholder="…")
            lines.append(f"  {plain(one.uri)} ({one.where}): {message}")
        more = cause.count - len(cause.examples)
        lines += [f"  and {more:,} more"] if more else []
        lines.append("")
    return lines
