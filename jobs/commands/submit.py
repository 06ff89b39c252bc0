"""``manta submit``: the command to send is checked here, as far as it can be without the cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands import run, train
from jobs.commands.common import Json, Quiet, answer, answer_json, be_quiet, tell
from stages.errors import UsageError

if TYPE_CHECKING:
    from jobs.submit import Submitted

SENDABLE = ("run", "train")
_CHECKPOINTS = ("checkpoint", "encoder", "decoder")
_PLACES = ("input", "output", "pages", "data", "eval_data", *_CHECKPOINTS)
"""Arguments that name places, which the cluster's machines must see."""
_ABOUT = """\
Run a command on a Ray cluster: send it, show its log, and exit with its code.

The cluster's dashboard takes the job (Ray Jobs). Its token comes from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or
~/.ray/auth_token, and goes only to a server that asks for one. Inputs and outputs are places that all machines of
the cluster see: s3://, or full paths of a shared folder.

\b
manta submit --address https://ray.example.com -- run text --input s3://in/ --output s3://out/
manta submit --env HF_TOKEN --stop-on-interrupt -- train bert --task text-classification --config train.yaml

What the job needs to know is best set on the cluster's machines (a Kubernetes Secret, for example). --env NAME sends
this shell's value of NAME encrypted with the cluster's token, since Ray itself would write it into logs.
"""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    # What comes after the first word belongs to the command that is sent.
    app.command("submit", help=_ABOUT, context_settings={"allow_interspersed_args": False})(submit)


def submit(  # noqa: PLR0913, PLR0917 - the options of the command line, each by name
    words: Annotated[list[str] | None, typer.Argument(metavar="-- run|train ...", help="What to run there.")] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="URL", help="The cluster's dashboard, such as http://head:8265.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME", help="Sends a variable, encrypted; NAME=VALUE for what is no secret."),
    ] = None,
    no_pack: Annotated[
        bool, typer.Option("--no-pack", help="The cluster has Manta: send only the config file.")
    ] = False,
    python: Annotated[str, typer.Option("--python", metavar="PATH", help="The cluster's Python.")] = "python",
    submission_id: Annotated[
        str, typer.Option("--submission-id", metavar="ID", help="Sends once under this name; follows what is there.")
    ] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only send; print the job's name.")] = False,
    stop_on_interrupt: Annotated[
        bool, typer.Option("--stop-on-interrupt", help="Ctrl-C and SIGTERM stop the job, not only the watching.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hands what the command line says to ``jobs.submit``."""
    be_quiet(quiet)
    check(words or ())
    from jobs.submit import Submission
    from jobs.submit import submit as send

    asked = Submission(
        words=words or (),
        address=address,
        code=not no_pack,
        python=python,
        env=env or (),
        submission_id=submission_id,
        wait=not no_wait,
        stop_on_interrupt=stop_on_interrupt,
    )
    sent = send(asked, say=lambda line: tell(line, quiet=quiet), write=None if quiet else _show)
    _report(sent, as_json=as_json, quiet=quiet)
    raise typer.Exit(sent.exit_code)


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _report(sent: Submitted, *, as_json: bool, quiet: bool) -> None:
    ended = sent.ended
    if ended is not None and ended.exit_code:
        why = f": {ended.message}" if ended.message else ""
        tell(f"manta: job {sent.submission_id} {ended.status.lower()} with exit code {ended.exit_code}{why}")
    elif ended is not None:
        tell(f"job {sent.submission_id} is done after {sent.seconds:.0f} s", quiet=quiet)
    if as_json:
        told = {name: value for name, value in asdict(sent).items() if name != "ended"}
        status = {"status": ended.status if ended else "PENDING", "exit_code": ended.exit_code if ended else None}
        answer_json({**told, **status})
    elif ended is None:
        answer(sent.submission_id)


# ---- the command that is sent


def check(words: Sequence[str]) -> None:
    """Raises UsageError for what is no command that can be sent, or names a place that a cluster cannot see."""
    if not words or words[0] not in SENDABLE:
        told = f", not {words[0]}" if words else ""
        raise UsageError(f"manta submit sends run and train{told}: manta submit -- run FAMILY --input … --output …")
    given = _parsed(words)
    if given.get("show_help"):
        raise UsageError(f"manta {words[0]} --help tells it without a cluster")
    if given.get("address"):
        raise UsageError("leave out --address after run or train: a job joins the cluster that it is sent to")
    for name, value in _places(given):
        if "://" not in value and not value.startswith("/"):
            raise UsageError(
                f"{name} {value} is a place on this machine: give the full path of a folder that all machines of the "
                "cluster see, or an s3:// prefix"
            )


def _parsed(words: Sequence[str]) -> Mapping[str, object]:
    """The command's arguments by name. Wrong ones are told as ``manta run`` would tell them."""
    app = typer.Typer()
    run.add_to(app)
    train.add_to(app)
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    found: Mapping[str, object] = command.make_context(f"manta {words[0]}", list(words[1:])).params
    return found


def _places(given: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """(option, place) of the command line and, where that does not say, of its config file."""
    from jobs.config import read_file, read_sets

    config, sets = given.get("config"), given.get("sets")
    settings = read_file(str(config)) if config else {}
    settings |= read_sets([str(one) for one in sets] if isinstance(sets, list | tuple) else ())
    told = {**given, "input": [*_many(given.get("inputs")), *_many(given.get("more"))]}
    for name in _PLACES:
        key = f"run.{name}"
        inside = settings[key].value if key in settings else None
        label = f"--{name.replace('_', '-')}" if _many(told.get(name)) else f"{key}:"
        for value in _many(told.get(name)) or _many(inside):
            # A checkpoint may be a name of the Hub, which looks like a folder.
            if name not in _CHECKPOINTS or Path(str(value)).exists():
                yield label, str(value)


def _many(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
