"""``python -m jobs.bench NAME``: the same as ``manta bench NAME``, on machines that have neither ray nor typer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jobs.bench import bench, names
from stages.errors import MantaError


def main() -> int:
    """Parses the command line and runs one bench."""
    parser = argparse.ArgumentParser(prog="python -m jobs.bench", description=__doc__)
    parser.add_argument("name", help=" | ".join(names()))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the report into this file (BENCHMARKS.md)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="real inputs instead of generated ones")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    told = parser.parse_args()
    try:
        return bench(told.name, as_json=told.json, write=told.write, data=told.data, quick=told.quick)
    except MantaError as error:
        sys.stderr.write(f"manta: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
