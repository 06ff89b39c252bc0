"""``manta serve``: from a config file, or a family and options, to an endpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands.common import Json, Quiet, answer, answer_json, be_quiet, complete_family, complete_task, tell
from stages.errors import UsageError

if TYPE_CHECKING:
    from jobs.config import Given
    from jobs.serving.settings import ServeConfig

_ABOUT = """\
Serve model families over HTTP, on Ray Serve. The rows are those of manta run.

Prints the URL when every model is ready; Ctrl-C stops, after what is under way has been answered. With --address, the
same command again changes what is served there without a failed request.

\b
manta serve bert --task text-classification --checkpoint models:/tone@champion
manta serve serve.yaml
curl URL/v1/bert/text-classification -d '{"rows": [{"text": "A fine day."}]}' -H 'Content-Type: application/json'
"""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("serve", help=_ABOUT, add_help_option=False)(serve)


def serve(  # noqa: PLR0913, PLR0917 - the options of the command line, each by name
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG|FAMILY", help="A YAML file, or a family.", autocompletion=complete_family),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="One of the family's tasks.", autocompletion=complete_task),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint", metavar="REF", help="Hub id, folder, s3:// folder or MLflow model; default: the family's."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="Port of HTTP; default: 8000.")] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address of HTTP; others than loopback need keys.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, listed below; lists in JSON.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="RAY", help="A Ray cluster to join: auto, or host:port.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="With --address: leave it running there, and return when it is ready.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="This text, with the settings.")] = False,
) -> None:
    """Serve model families over HTTP."""
    if show_help:
        _show_help(context, what, task)
        return
    be_quiet(quiet)
    from jobs.config import Given

    told = {"serve.port": port, "serve.host": host, "model.checkpoint": checkpoint}
    given = {name: Given(value=value) for name, value in told.items() if value is not None}
    config = config_for(what, task, sets or (), given)
    if no_wait and not address:
        raise UsageError("--no-wait leaves the endpoint on a cluster that goes on: name one with --address")
    from jobs.serve import deploy, serving, wait_for_signal

    if no_wait:
        _told(deploy(config, address=address, say=lambda line: tell(line, quiet=quiet)), config, as_json=as_json)
        return
    with serving(config, address=address, say=lambda line: tell(line, quiet=quiet)) as url:
        _told(url, config, as_json=as_json)
        wait_for_signal()


def config_for(what: str | None, task: str | None, sets: Sequence[str], given: dict[str, Given]) -> ServeConfig:
    """What to serve. Raises UsageError."""
    from jobs.serving.config import for_family, read_config

    if what is None:
        raise UsageError("what? manta serve CONFIG.yaml, or manta serve FAMILY --task TASK")
    if what.endswith((".yaml", ".yml")) or Path(what).is_file():
        if task or "model.checkpoint" in given:
            raise UsageError(f"{what} says which models: leave out --task and --checkpoint")
        return read_config(what, sets, given)
    if task is None:
        import pipelines

        names = ", ".join(one.name for one in pipelines.family(what).tasks)
        raise UsageError(f"which task? family {what} has: {names}. Name one with --task")
    return for_family(what, task, sets, given)


def _told(url: str, config: ServeConfig, *, as_json: bool) -> None:
    names = [one.model.called for one in config.models]
    if as_json:
        answer_json({"url": url, "docs": f"{url}/docs", "models": names})
    else:
        answer(f"{url} serves {', '.join(names)}; {url}/docs tells how")
    sys.stdout.flush()


def _show_help(context: typer.Context, what: str | None, task: str | None) -> None:
    from jobs.commands.settings_help import settings_help
    from jobs.serving.config import SECTIONS
    from jobs.serving.settings import Model
    from pipelines import families
    from stages.settings import Predict

    family = what if what in families() else None
    answer(context.get_help())
    answer(settings_help("serve", {**SECTIONS, "model": Model, "predict": Predict}, family, task))
