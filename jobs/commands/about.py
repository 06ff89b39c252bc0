"""Commands about Manta itself: ``manta families``, ``manta doctor``, ``manta --version``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import logs
from jobs.commands.common import Json, Quiet, answer, answer_json, tell

if TYPE_CHECKING:
    from jobs.families import TaskLine


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("families")(families)
    app.command("doctor")(doctor)
    app.callback()(about)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        answer(version("manta"))
        raise typer.Exit


def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    log_format: Annotated[
        logs.Format, typer.Option("--log-format", envvar=logs.VARIABLE, help="Lines for people, or JSON.")
    ] = "text",
) -> None:
    """Turn corpora into typed Parquet rows with Hugging Face model families."""
    del version
    logs.use(log_format)


def families(
    new: Annotated[
        str | None, typer.Option("--new", metavar="NAME", help="Write a package with a new family: manta-NAME.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List families, tasks, default checkpoints and licences."""
    if new is not None:
        _new(new, quiet=quiet)
        return
    from jobs.families import as_json as told
    from jobs.families import task_lines

    if as_json:
        answer_json(told())
        return
    lines = task_lines()
    if quiet:
        answer("\n".join(f"{one.family}\t{one.task}" for one in lines))
        return
    wide = max(len(one.task) for one in lines)
    for name, own in itertools.groupby(lines, key=lambda one: one.family):
        _family(name, list(own), wide)
    tell("\n(…) is used where a table has it. Options of a task: manta run FAMILY --task TASK --help")


def _new(name: str, *, quiet: bool) -> None:
    """Writes the skeleton into the working folder, and says what comes next."""
    from jobs.skeleton import write_skeleton

    folder = write_skeleton(name, Path())
    answer(str(folder))
    tell(f"Next: pip install -e {folder}, manta families, pytest {folder}; then change it", quiet=quiet)


def _family(name: str, lines: list[TaskLine], wide: int) -> None:
    from jobs.families import short
    from pipelines import family

    found = family(name)
    answer(f"{name}: {found.summary}")
    if found.notice:
        answer(f"  {found.notice}")
    for one in lines:
        reads = ", ".join((*one.reads, *(f"({column})" for column in one.optional)))
        trained = f", trained by {one.metric}" if one.metric else ""
        answer(f"  {one.task:<{wide}}  {one.summary}")
        answer(f"  {'':<{wide}}  reads {reads}{trained}; {short(one.checkpoint)} ({one.licence})")


def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Tell what is missing on this machine and the command that mends it."""
    from jobs.doctor import examine

    found = examine()
    bad = [one for one in found if one.state == "missing"]
    if as_json:
        answer_json({"ok": not bad, "checks": [one.as_dict() for one in found]})
    else:
        answer("\n".join(str(one) for one in (bad if quiet else found)))
    raise typer.Exit(1 if bad else 0)
