"""``manta train``: from the command line and a config file to ``jobs.train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.arguments import TrainArguments
from jobs.commands.common import Json, Quiet, answer, be_quiet, complete_family, complete_task, help_texts, tell
from stages.errors import UsageError

if TYPE_CHECKING:
    from jobs.config import Given
    from jobs.schema import Key
    from jobs.training.settings import Augment, Train
    from pipelines import Options

_HELP = help_texts(TrainArguments)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("train", add_help_option=False)(train)


def train(  # noqa: PLR0913, PLR0917 - the options of the command line, each by name
    context: typer.Context,
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help=_HELP["family"], autocompletion=complete_family)
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help=_HELP["task"], autocompletion=complete_task)
    ] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="URI", help=_HELP["data"])] = None,
    eval_data: Annotated[str | None, typer.Option("--eval-data", metavar="URI", help=_HELP["eval_data"])] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", metavar="REF", help=_HELP["checkpoint"])] = None,
    encoder: Annotated[str | None, typer.Option("--encoder", metavar="REF", help=_HELP["encoder"])] = None,
    decoder: Annotated[str | None, typer.Option("--decoder", metavar="REF", help=_HELP["decoder"])] = None,
    output: Annotated[str | None, typer.Option("--output", metavar="DIR", help=_HELP["output"])] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="YAML file with sections; the command line wins.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, listed below; lists in JSON.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", metavar="N", help=_HELP["workers"])] = None,
    address: Annotated[str | None, typer.Option("--address", metavar="RAY", help=_HELP["address"])] = None,
    resume: Annotated[bool, typer.Option("--resume", help=_HELP["resume"])] = False,
    register: Annotated[str | None, typer.Option("--register", metavar="NAME", help=_HELP["register"])] = None,
    push_to_hub: Annotated[str | None, typer.Option("--push-to-hub", metavar="REPO", help=_HELP["push_to_hub"])] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="This text, with the settings of --task.")] = False,
) -> None:
    """Fine-tune a checkpoint on a table of right answers, on Ray Train."""
    if show_help:
        _show_help(context, family, task)
        return
    be_quiet(quiet)
    from jobs.config import Given
    from jobs.train import train as start

    told = {
        "family": family,
        "task": task,
        "data": data,
        "eval_data": eval_data,
        "checkpoint": checkpoint,
        "encoder": encoder,
        "decoder": decoder,
        "output": output,
        "register": register,
        "push_to_hub": push_to_hub,
        "workers": workers,
        "address": address,
        "resume": resume or None,
    }
    given = {f"run.{name}": Given(value=value) for name, value in told.items() if value is not None}
    arguments, settings, augment, options = training_for(config, sets or (), given)
    assert arguments.family
    assert arguments.task
    assert arguments.data
    assert arguments.output
    record = start(
        arguments.family,
        arguments.task,
        arguments.data,
        arguments.output,
        checkpoint=arguments.checkpoint,
        encoder=arguments.encoder,
        decoder=arguments.decoder,
        eval_data=arguments.eval_data,
        workers=arguments.workers,
        address=arguments.address,
        settings=settings,
        augment=augment,
        options=options,
        resume=arguments.resume,
        register=arguments.register,
        push_to_hub=arguments.push_to_hub,
        say=lambda line: tell(line, quiet=quiet),
    )
    if as_json:
        answer(record.to_json())
    else:
        answer(record.model)


def training_for(
    config: str | None,
    sets: Sequence[str],
    told: Mapping[str, Given],
) -> tuple[TrainArguments, Train, Augment, Options]:
    """What to train from a config file, ``--set`` pairs and options; later ones win. Raises UsageError."""
    from jobs.config import fill, read_file, read_sets
    from jobs.training.settings import Augment, Train
    from pipelines import Options
    from pipelines import task as find_task

    given = {**(read_file(config) if config else {}), **read_sets(sets), **told}
    for name in ("family", "task"):
        if f"run.{name}" not in given:
            example = "manta train layoutlm --task token-classification --data ROWS --output DIR"
            raise UsageError(f"which {name}? as in: {example}")
    family, task = (str(given[f"run.{name}"].value) for name in ("family", "task"))
    schema: dict[str, type | Key] = {
        "run": TrainArguments,
        "train": Train,
        "augment": Augment,
        "task": find_task(family, task).options_type,
    }
    filled = fill(schema, given)
    arguments, settings, augment, options = (filled[name] for name in schema)
    assert isinstance(arguments, TrainArguments)
    assert isinstance(settings, Train)
    assert isinstance(augment, Augment)
    assert isinstance(options, Options)
    for name in ("data", "output"):
        if not getattr(arguments, name):
            raise UsageError(f"no {name}: name it with --{name}")
    return replace(arguments, family=family, task=task), settings, augment, options


def _show_help(context: typer.Context, family: str | None, task: str | None) -> None:
    from jobs.commands.settings_help import settings_help
    from jobs.training.settings import Augment, Train

    answer(context.get_help())
    answer(settings_help("train", {"train": Train, "augment": Augment}, family, task))
