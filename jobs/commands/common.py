"""What every command shares: ``--json``, ``--quiet``, and where things are printed."""

from __future__ import annotations

import json
import logging
import sys
from typing import Annotated

import typer

from jobs import logs
from jobs.schema import field_docs

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the answer and errors.")]


def answer(text: str) -> None:
    """Standard output: what was asked for."""
    sys.stdout.write(text + "\n")


def answer_json(value: object) -> None:
    """Standard output, as indented JSON."""
    answer(json.dumps(value, indent=2, ensure_ascii=False))


def tell(text: str, *, quiet: bool = False) -> None:
    """Standard error: what a person may want to know."""
    if not quiet:
        sys.stderr.write(logs.line(text) + "\n")


def be_quiet(quiet: bool) -> None:
    """Leaves only errors of the log."""
    if quiet:
        logging.getLogger().setLevel(logging.ERROR)


def help_texts(arguments: type) -> dict[str, str]:
    """The fields' docstrings of an arguments dataclass as options' help texts."""
    return {name: text[:1].upper() + text[1:] + "." for name, text in field_docs(arguments).items()}


def complete_family(begun: str) -> list[str]:
    """Families, and text, for the shell."""
    from pipelines import families

    return [name for name in ("text", *families()) if name.startswith(begun)]


def complete_task(begun: str) -> list[str]:
    """Tasks of all families, for the shell: parsing gives up at the option that waits for its value."""
    from pipelines import families, family

    names = {task.name for name in families() for task in family(name).tasks}
    return sorted(name for name in names if name.startswith(begun))
