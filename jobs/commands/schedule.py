"""``manta schedule``: from a YAML file to runs by the clock, or to a Kubernetes CronJob."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.arguments import KubernetesArguments, ScheduleArguments
from jobs.commands.common import Json, Quiet, answer, be_quiet, tell
from stages.errors import UsageError

if TYPE_CHECKING:
    from jobs.prepare import Request
    from jobs.scheduling.tick import Outcome

_ABOUT = """\
Run the same thing by the clock: what is new, and what failed for reasons that may have passed.

\b
schedule: {cron: "30 2 * * *", time_zone: Europe/Berlin, keep_records: 100}
run: {family: text, input: [s3://bucket/inbox/], output: s3://bucket/read/}

The other sections are those of manta run, which takes the same file. run.retry and run.max_attempts say what is tried
again and how often; by default what may pass (time-outs, crashes, files that were away), ten times. Missed ticks are
made up once. Two runs never overlap on one output. --manifest prints a ConfigMap and a CronJob (kubectl apply -f -)
which submit to a Ray cluster what this would run here. --json prints the run record of each tick, one a line.
"""


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("schedule", help=_ABOUT)(schedule)


def schedule(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="The schedule and its run.")],
    once: Annotated[bool, typer.Option("--once", help="One run now, then exit with its code.")] = False,
    manifest: Annotated[bool, typer.Option("--manifest", help="Print the Kubernetes CronJob instead.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Checks the file, then hands it to ``jobs.schedule``."""
    be_quiet(quiet)
    from jobs.commands.run import read_request
    from jobs.schedule import Schedule, words
    from jobs.scheduling.ticks import Cron

    request, filled = read_request(config, (), {})
    arguments = filled["schedule"]
    assert isinstance(arguments, ScheduleArguments)
    if not arguments.cron:
        raise UsageError(f'{config} has no schedule.cron, such as cron: "30 2 * * *" for every night at half past two')
    Cron(arguments.cron, arguments.time_zone)
    if manifest:
        answer(_manifest(config, request, filled))
        return
    task = Schedule(
        arguments=arguments,
        words=words(config, request.retry, request.max_attempts),
        output=request.output,
        say=lambda line: tell(line, quiet=quiet),
        hear=_answer if as_json else lambda _: None,
    )
    if not once:
        task.forever()
    outcome = task.once()
    raise typer.Exit(outcome.exit_code if outcome.exit_code >= 0 else 1)


def _answer(outcome: Outcome) -> None:
    answer(json.dumps(outcome.record))


def _manifest(config: str, request: Request, filled: Mapping[str, object]) -> str:
    from jobs.commands.submit import check
    from jobs.schedule import words
    from jobs.scheduling.manifest import MOUNT, manifest

    arguments, kubernetes = filled["schedule"], filled["kubernetes"]
    assert isinstance(arguments, ScheduleArguments)
    assert isinstance(kubernetes, KubernetesArguments)
    check(["run", "--config", config])  # its places must be such as a cluster sees
    command = words(f"{MOUNT}/{Path(config).name}", request.retry, request.max_attempts)
    return manifest(config, command, arguments, kubernetes).rstrip()
