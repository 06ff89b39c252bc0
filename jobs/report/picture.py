"""How the README's picture of the report is made anew: ``python -m jobs.report.picture OUTPUT [FILE.png]``.

Takes a screenshot of OUTPUT/report/index.html in Chromium and saves it with 200 colours, so that it stays small.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from jobs.view import view
from stages.errors import UsageError

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1360,1960",
)  # fmt: skip
EXAMPLE = Path(__file__).with_name("example.png")


def picture(output: str, target: Path = EXAMPLE) -> Path:
    """Writes the report of a local output and its picture. Raises UsageError where Chromium is not installed."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise UsageError("a picture of the report needs Chromium: apt-get install chromium")
    report = Path(view(output)).resolve()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [program, *_FLAGS, f"--user-data-dir={folder}/profile", f"--screenshot={shot}", report.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            small = image.convert("RGB").quantize(200, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        small.save(target, optimize=True)
    return target


if __name__ == "__main__":
    picture(sys.argv[1], *map(Path, sys.argv[2:3]))
