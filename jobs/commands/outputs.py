"""Commands on what a run left: ``manta view`` and ``manta errors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.common import Json, Quiet, answer, answer_json, tell

Output = Annotated[str, typer.Argument(metavar="OUTPUT", help="The output folder or s3:// prefix of a run.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("view")(view)
    app.command("errors")(errors)


def view(
    output: Output,
    limit_pages: Annotated[int, typer.Option("--limit-pages", metavar="N", help="Most pages shown.")] = 40,
    pages: Annotated[
        str | None, typer.Option("--pages", metavar="URI", help="Where pages/ lies; default: as the run says.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write an HTML report of an output: counts, throughput, pages with their answers drawn in, errors."""
    from jobs.view import view as write

    path = write(output, limit_pages=limit_pages, pages=pages)
    tracked = _attach(output, path)
    if as_json:
        answer_json({"report": path, "mlflow_run_id": tracked})
    else:
        answer(path)
        tell("one file, open it in a browser" + (", also kept with the MLflow run" if tracked else ""), quiet=quiet)


def _attach(output: str, report: str) -> str | None:
    """Keeps the report with the MLflow run, where that can be reached; says which."""
    from jobs.report.output import open_output

    run_id = open_output(output).run.mlflow_run_id
    if not run_id or not Path(report).is_file():
        return None
    from jobs.tracking import attach

    return run_id if attach(output, run_id, "report", Path(report)) else None


def errors(output: Output, as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell what failed by cause: count, remedy, examples, and the command that tries again."""
    from jobs.errors import errors as told

    text = told(output, as_json=as_json)
    if as_json or not quiet:
        answer(text)
    else:
        found = json.loads(told(output, as_json=True))["errors"]
        answer("\n".join(f"{one['code']}\t{one['count']}" for one in found))
