"""``manta demo``: the whole of Manta on invoices of its own making."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.common import Json, Quiet, answer, be_quiet, tell


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("demo")(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Where everything goes; an earlier demo there is replaced.")
    ] = Path("demo-output"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make invoices, train a small LayoutLM, run it on unseen ones, score it, write the report: five minutes.

    Exits with 0 when it shows what it promises: entity F1, and the two unreadable files in the error table.
    """
    be_quiet(quiet)
    from jobs.demo import RECORD
    from jobs.demo import demo as show

    code = show(output, say=partial(tell, quiet=quiet))
    if as_json:
        answer((output / RECORD).read_text("utf-8"))
    raise typer.Exit(code)
