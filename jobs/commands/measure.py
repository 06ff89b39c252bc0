"""``manta bench``: measures Manta and its peers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.common import Json, Quiet, be_quiet


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("bench")(bench)


def _complete(begun: str) -> list[str]:
    from jobs.bench import names

    return [name for name in names() if name.startswith(begun)]


def bench(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Which bench; an unknown one lists all.", autocompletion=_complete)
    ],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Real inputs instead of generated ones.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Puts the report into BENCHMARKS.md.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: to see that it works.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure Manta and its peers on the same inputs, in turn; print a table with the hardware."""
    be_quiet(quiet)
    from jobs.bench import bench as measure

    raise typer.Exit(measure(name, as_json=as_json, write=write, data=data, quick=quick))
