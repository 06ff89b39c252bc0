"""``manta run``: from the command line and a config file to a Request, and from the Result to an exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.arguments import KubernetesArguments, RunArguments, ScheduleArguments
from jobs.commands.common import Json, Quiet, answer, be_quiet, complete_family, complete_task, help_texts, tell
from stages.errors import ErrorRateError, StoppedError, UsageError

if TYPE_CHECKING:
    from jobs.config import Given
    from jobs.prepare import Request
    from jobs.record import RunRecord
    from jobs.schema import Key

_HELP = help_texts(RunArguments)
_ABOUT = """\
Read documents or tables, run a model over them, leave typed Parquet rows.

What is done is not done again: the same command goes on where it stopped, and does what is new.

\b
manta run text --input scans/ --output out/        words, boxes and text of every page
manta run layoutlm --task token-classification --input scans/ --output out/
"""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("run", help=_ABOUT, add_help_option=False)(run)


def run(  # noqa: PLR0913, PLR0917 - the options of the command line, each by name
    context: typer.Context,
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help=_HELP["family"], autocompletion=complete_family)
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="INPUT...", help="More inputs after --input.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help=_HELP["task"], autocompletion=complete_task)
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", metavar="URI", help=_HELP["input"])] = None,
    output: Annotated[str | None, typer.Option("--output", metavar="URI", help=_HELP["output"])] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="REF", help=_HELP["checkpoint"])] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="YAML file with sections; the command line wins.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, listed below; lists in JSON.")
    ] = None,
    columns: Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=PATH", help=_HELP["map"])] = None,
    text: Annotated[
        Literal["auto", "layer", "ocr"] | None,
        typer.Option("--text", help="Where words come from: a page's text layer, OCR, or what is better."),
    ] = None,
    retry: Annotated[list[str] | None, typer.Option("--retry", metavar="CODE,...", help=_HELP["retry"])] = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", metavar="N", help=_HELP["max_attempts"])] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help=_HELP["limit"])] = None,
    address: Annotated[str | None, typer.Option("--address", metavar="RAY", help=_HELP["address"])] = None,
    max_error_rate: Annotated[
        float | None, typer.Option("--max-error-rate", metavar="SHARE", help=_HELP["max_error_rate"])
    ] = None,
    pages: Annotated[str | None, typer.Option("--pages", metavar="URI", help=_HELP["pages"])] = None,
    prune: Annotated[bool, typer.Option("--prune", help=_HELP["prune"])] = False,
    allow_errors: Annotated[bool, typer.Option("--allow-errors", help=_HELP["allow_errors"])] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only tell what would be done; loads no model.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="This text, with the settings of --task.")] = False,
) -> None:
    """Hands what the command line says to ``jobs.batch``."""
    if show_help:
        _show_help(context, family, task)
        return
    be_quiet(quiet)
    from jobs.config import Given

    flags = {"prune": prune or None, "allow_errors": allow_errors or None}
    told = {
        "family": family,
        "task": task,
        "input": [*(inputs or ()), *(more or ())] or None,
        "output": output,
        "checkpoint": checkpoint,
        "map": _pairs(columns) if columns else None,
        "retry": [code for one in retry or () for code in one.split(",") if code] or None,
        "max_attempts": max_attempts,
        "limit": limit,
        "address": address,
        "max_error_rate": max_error_rate,
        "pages": pages,
        **flags,
    }
    given = {f"run.{name}": Given(value=value) for name, value in told.items() if value is not None}
    if text:
        given["text"] = Given(value=text)
    request, arguments = request_for(config, sets or (), given)
    if plan:
        _plan(request, as_json=as_json)
    else:
        raise typer.Exit(_run(request, arguments, as_json=as_json, quiet=quiet))


def request_for(
    config: str | None,
    sets: Sequence[str],
    told: Mapping[str, Given],
) -> tuple[Request, RunArguments]:
    """A request from a config file, ``--set`` pairs and options; later ones win. Raises UsageError."""
    request, filled = read_request(config, sets, told)
    arguments = filled["run"]
    assert isinstance(arguments, RunArguments)
    return request, arguments


def read_request(
    config: str | None,
    sets: Sequence[str],
    told: Mapping[str, Given],
) -> tuple[Request, Mapping[str, object]]:
    """The same, with all sections of the file."""
    from jobs.config import SETTINGS, fill, read_file, read_sets, settings_of
    from jobs.prepare import TEXT, Request
    from pipelines import Options
    from pipelines import task as find_task

    given = {**(read_file(config) if config else {}), **read_sets(sets), **told}
    family, task = (given[name].value if name in given else None for name in ("run.family", "run.task"))
    if family is None:
        raise UsageError("which family? name one, or text to only read: manta run text --input IN --output OUT")
    # A schedule's file serves manta run as well.
    schema: dict[str, type | Key] = {
        "run": RunArguments,
        "schedule": ScheduleArguments,
        "kubernetes": KubernetesArguments,
        **SETTINGS,
    }
    if family != TEXT and task is not None:
        schema["task"] = find_task(str(family), str(task)).options_type
    filled = fill(schema, given)
    arguments, options = filled["run"], filled.get("task")
    assert isinstance(arguments, RunArguments)
    assert isinstance(options, Options | None)
    if not arguments.output:
        raise UsageError("no output: name a folder or an s3:// prefix with --output")
    request = Request(
        family=str(arguments.family),
        task=arguments.task,
        inputs=arguments.input,
        output=arguments.output,
        checkpoint=arguments.checkpoint,
        settings=settings_of(filled),
        options=options,
        columns=arguments.map,
        retry=arguments.retry,
        max_attempts=arguments.max_attempts,
        limit=arguments.limit,
        address=arguments.address,
        max_error_rate=arguments.max_error_rate,
        pages=arguments.pages,
        prune=arguments.prune,
        command=shlex.join(["manta", *sys.argv[1:]]),
    )
    return request, filled


def _pairs(columns: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in columns]
    for column, equals, path in pairs:
        if not (column and equals and path):
            raise UsageError(
                f"--map takes column=path, such as --map question=query.en, not {column + equals + path!r}"
            )
    return {column: path for column, _, path in pairs}


def _plan(request: Request, *, as_json: bool) -> None:
    from jobs.planning import plan

    report = plan(request)
    answer(report.to_json() if as_json else str(report))


def _run(request: Request, arguments: RunArguments, *, as_json: bool, quiet: bool) -> int:
    from jobs.batch import execute
    from jobs.progress import Progress

    progress = Progress.quiet() if quiet else Progress.standard_error()
    try:
        result = execute(request, progress)
    except (ErrorRateError, StoppedError):
        if as_json:
            _answer_last_record(request.output)
        raise
    if as_json:
        answer(result.record.to_json())
    tell(summary(result.record, request.output), quiet=quiet)
    return 0 if result.exit_code == 3 and arguments.allow_errors else result.exit_code


def _answer_last_record(output: str) -> None:
    from jobs.report.output import open_output

    answer(open_output(output).run.to_json())


def summary(record: RunRecord, output: str) -> str:
    """What a person wants to know at the end, and where to go next."""
    from jobs.progress import clock

    documents = record.documents
    counts = [f"{getattr(documents, name):,} {name}" for name in ("ok", "partial", "failed", "skipped")]
    pages = record.pages.ok + record.pages.failed
    lines = [
        f"{record.status} in {clock(record.seconds)}: {documents.listed:,} documents ({', '.join(counts)}), "
        f"{pages:,} pages or rows, {record.pages_per_second:.1f} a second",
    ]
    if record.errors:
        codes = ", ".join(f"{code} {count:,}" for code, count in record.errors.items())
        lines.append(f"error rows: {codes} — manta errors {output}")
    lines.append(f"look at it: manta view {output}")
    return "\n".join(lines)


def _show_help(context: typer.Context, family: str | None, task: str | None) -> None:
    from jobs.commands.settings_help import settings_help
    from jobs.config import SETTINGS

    answer(context.get_help())
    answer(settings_help("run", SETTINGS, family, task))
