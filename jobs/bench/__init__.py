"""The benches: one file each, named by its file. ``manta bench NAME`` measures Manta and its peers in one call.

Every figure of BENCHMARKS.md is written by a command (``manta bench NAME --write BENCHMARKS.md``), never by hand. Ours
and the peers take turns on the same inputs; medians and ratios are told, with the hardware. A bench makes its own
inputs, the same everywhere; ``--data`` takes real ones. Importing this loads neither ray nor torch, and
``python -m jobs.bench predict`` needs neither ray nor mlflow to be installed.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from pathlib import Path

from jobs.bench.common.ask import Ask, Bench
from jobs.bench.common.written import write_section
from stages.errors import UsageError


def names() -> list[str]:
    """The names of all benches: the modules of this folder."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if not module.ispkg and not module.name.startswith("_"))


def find(name: str) -> Bench:
    """The bench of that name. Raises UsageError that lists what exists."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(f"no bench {name!r}{meant}; there are: {', '.join(names())}. Try: manta bench {names()[0]}")
    bench: Bench = importlib.import_module(f"jobs.bench.{name}")
    return bench


def bench(name: str, *, as_json: bool, write: Path | None, data: Path | None, quick: bool) -> int:
    """Runs a bench, prints its report to standard output, and puts it into the file ``write`` where one is named.

    ``data``: a folder of real inputs. ``quick``: small sizes, to see that the bench works. Returns the exit code, 0:
    a figure that misses its mark is told, not an error. Raises UsageError for what cannot be measured.
    """
    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data} is no folder")
    try:
        report = find(name).measure(Ask(data=data, quick=quick))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"jobs", "pipelines", "stages"}:
            raise
        raise UsageError(f"bench {name} needs {error.name}: pip install 'manta[demo,train,serve,test]'") from error
    sys.stdout.write((report.to_json() if as_json else report.to_text()) + "\n")
    if write is not None:
        write_section(write, report)
    return 0
