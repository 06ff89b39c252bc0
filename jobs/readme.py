"""The tables of README.md that are made from the code: ``python -m jobs.readme`` writes them, ``--check`` compares.

A table stands between ``<!-- made: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from jobs.cluster import Resources
from jobs.families import short, task_lines
from jobs.labelled.read import formats
from jobs.pools import Layout
from jobs.serving.refusals import REQUEST_CODES
from pipelines import Checkpoint, families, family
from stages.base import Stage
from stages.columns import DOCUMENT_HEAD, DOCUMENT_TAIL, ERRORS, PAGES, RESULT_HEAD, RESULT_TAIL
from stages.errors import MACHINE_CODES, REMEDIES
from stages.settings import Settings
from stages.write import RunStamp

README = Path(__file__).parent.parent / "README.md"
SHOWN = ("layoutlm", "token-classification")
"""The family and task whose stages the data flow shows."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(names: Sequence[str]) -> str:
    """Names as code, joined by commas; a dash for none."""
    return ", ".join(f"`{name}`" for name in names) or "—"


def data_flow() -> str:
    """Every stage of a run over documents with a GPU, in order, and what it does to the columns."""
    name, task = SHOWN
    checkpoint = Checkpoint(ref="", path="", content="")
    stamp = RunStamp(run_id="", family=name, task=task, checkpoint="", fingerprint="", read_fingerprint="")
    layout = Layout(
        task=family(name).task(task)(checkpoint),
        settings=Settings(),
        stamp=stamp,
        output="",
        pages="",
        resources=Resources(machines=(8,), gpus=1),
    )
    rows = [
        [f"{number}", f"`{stage.name}`", _says(stage), code(stage.reads), code(stage.writes), _dropped(stage)]
        for number, pool in enumerate(layout.documents(None), 1)
        for stage in pool.stages
    ]
    return table(("operator", "stage", "what it does", "reads", "adds", "drops"), rows)


def _says(stage: Stage) -> str:
    return (inspect.getdoc(type(stage)) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`").rstrip(".")


def _dropped(stage: Stage) -> str:
    return code(stage.drops) if len(stage.drops) < 10 else "all others"


def family_table() -> str:
    """Families and tasks with their columns, metric, default checkpoint and licence."""
    rows = []
    for one in task_lines():
        reads = code(one.reads) if one.reads else ""
        maybe = ", ".join(f"(`{name}`)" for name in one.optional)
        rows.append(
            [
                f"`{one.family}`",
                f"`{one.task}`",
                one.summary,
                ", ".join(filter(None, (reads, maybe))),
                code(one.writes),
                one.metric or "—",
                short(one.checkpoint),
                one.licence,
            ],
        )
    heads = ("family", "task", "what it answers", "reads", "answers", "trained by", "default checkpoint", "licence")
    notices = [f"\n\n`{name}`: {family(name).notice}." for name in families() if family(name).notice]
    return table(heads, rows) + "".join(notices)


def outputs() -> str:
    """The folders of an output and their columns."""
    rows = [
        ["pages/", "a page of a document", code(PAGES)],
        [
            "results/",
            "a page, question or table row",
            f"{code(RESULT_HEAD)}, *the task's columns*, {code(RESULT_TAIL)}",
        ],
        [
            "documents/",
            "a document",
            f"{code(DOCUMENT_HEAD)}, *the task's combined columns*, {code(DOCUMENT_TAIL)}",
        ],
        ["errors/", "a failure", code(ERRORS)],
    ]
    return table(("folder", "one row is", "columns"), rows)


def error_codes() -> str:
    """Every error code with its remedy."""
    rows = [[f"`{one}`" + ("*" if one in MACHINE_CODES else ""), remedy] for one, remedy in REMEDIES.items()]
    return table(("code", "what helps"), rows)


def labelled_data() -> str:
    """The forms of labelled data and the columns that they give."""
    rows = [[_first_sentence(form.__doc__ or ""), code(form.COLUMNS)] for form in formats()]
    return table(("labelled data", "gives"), rows)


def _first_sentence(text: str) -> str:
    """What stands before the first empty line or full stop, on one line."""
    return re.split(r"\.(?:\s|$)|\n\n", text.replace("``", "`"), maxsplit=1)[0].replace("\n", " ")


def request_codes() -> str:
    """What an endpoint answers to a request that it refuses as a whole."""
    rows = [[f"{status}", f"`{code}`", remedy] for code, (status, remedy) in REQUEST_CODES.items()]
    return table(("status", "code", "what helps"), rows)


MADE: dict[str, Callable[[], str]] = {
    "data flow": data_flow,
    "families": family_table,
    "labelled data": labelled_data,
    "outputs": outputs,
    "error codes": error_codes,
    "request codes": request_codes,
}


def renewed(text: str) -> str:
    """``text`` with every made table as the code says it now. Raises ValueError where a table has no place."""
    for name, make in MADE.items():
        pattern = re.compile(rf"(<!-- made: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place for the table {name!r}")
        text = pattern.sub(partial(_put, make()), text)
    return text


def _put(made: str, found: re.Match[str]) -> str:
    return f"{found[1]}\n{made}\n\n{found[2]}"


def main() -> int:
    """Writes README.md anew, or with ``--check`` says whether it is current (exit 1 where not)."""
    before = README.read_text("utf-8")
    after = renewed(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            sys.stderr.write("README.md is not what the code says: run python -m jobs.readme\n")
        return int(before != after)
    README.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
