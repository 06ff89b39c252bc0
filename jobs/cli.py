"""``manta``: the command line. Each command lives in ``jobs/commands``; here is what they share.

Answers go to standard output, everything else to standard error. A user's mistake is one line with its exit code
(stages/errors.py); a traceback is a bug in Manta. Starting imports neither ray, torch nor mlflow.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress

import typer

from jobs import logs
from jobs.cluster import leave
from jobs.commands import about, demo, measure, outputs, run, schedule, serve, submit, train
from jobs.sealed import unseal_environment
from stages.errors import MantaError

EXIT_CODES = """\
Exit codes: 0 done · 2 wrong usage or configuration · 3 finished, with rows in the error table (0 with --allow-errors)
· 4 stopped at the error rate · 5 stopped by a signal, everything finished is committed · 1 anything else."""

app = typer.Typer(
    name="manta",
    help="Turns corpora into typed Parquet rows with Hugging Face model families.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, train, serve, submit, schedule, outputs, about, demo, measure):
    module.add_to(app)


def main() -> None:
    """The ``manta`` program."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        unseal_environment()  # of a job that manta submit sent
        app(prog_name="manta")
    except MantaError as error:
        sys.stderr.write(logs.line(f"manta: {' '.join(str(error).split())}", "ERROR") + "\n")
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - the last frame: what arrives here is a bug, and said to be one
        traceback.print_exc()
        sys.stderr.write(
            "manta: this is a bug in Manta, not your mistake; please report the lines above with what "
            "'manta doctor --json' prints\n",
        )
        sys.exit(1)


def program() -> None:
    """What the command ``manta`` runs: ``main``, then an end at once.

    All is written and closed by then. What Ray and Python would still tidy up takes three seconds, of a one-page run a
    seventh; a cluster of our own dies with this process in any case.
    """
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    leave()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a reader that has gone
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":  # python -m jobs.cli, where the program manta is not installed
    program()
