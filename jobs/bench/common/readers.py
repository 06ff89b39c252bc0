"""Our ways of reading images, without Ray: the read path of ``manta run``, and tesseract in the process for trials."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal

from stages.ocr import tessdata
from stages.reading import open_sandbox, read_page
from stages.settings import Ocr, Settings

if TYPE_CHECKING:
    from stages.sandbox import Sandbox

Words = dict[Path, list[str]]


class ReadPath:
    """``stages.reading`` with one sandbox a process, kept from call to call; a context manager."""

    def __init__(self, processes: int, ocr: Ocr | None = None) -> None:
        self._settings = Settings(text="ocr", ocr=ocr or Ocr())
        self._free: SimpleQueue[Sandbox] = SimpleQueue()
        self._all = [open_sandbox(self._settings) for _ in range(processes)]
        for sandbox in self._all:
            self._free.put(sandbox)

    def __call__(self, images: Sequence[Path]) -> Words:
        """The words of each image."""
        with ThreadPoolExecutor(len(self._all)) as pool:
            return dict(zip(images, pool.map(self._read, images), strict=True))

    def _read(self, image: Path) -> list[str]:
        sandbox = self._free.get()
        try:
            return list(read_page(sandbox, str(image), 1, self._settings).words.words)
        finally:
            self._free.put(sandbox)

    def __enter__(self) -> ReadPath:
        return self

    def __exit__(self, *_: object) -> None:
        for sandbox in self._all:
            sandbox.close()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting of tesseract, in the process and looked at once, with nothing of ours around it."""

    psm: int = 3
    """Page segmentation."""
    mode: Literal["L", "RGB"] = "L"
    """Grey or colour."""
    invert: bool = True
    """Whether tesseract also tries light text on dark (``tessedit_do_invert``)."""

    @property
    def name(self) -> str:
        """As it stands in the table."""
        colour = "grey" if self.mode == "L" else "colour"
        return f"psm {self.psm}, {colour}, inversion {'on' if self.invert else 'off'}"

    def __call__(self, images: Sequence[Path], processes: int) -> Words:
        """The words of each image; threads, since tesserocr lets go of the interpreter's lock."""
        with _silent(), ThreadPoolExecutor(processes) as pool:
            shares = [images[first::processes] for first in range(processes)]
            return {path: words for part in pool.map(self._share, shares) for path, words in part.items()}

    def _share(self, images: Sequence[Path]) -> Words:
        import tesserocr
        from PIL import Image

        found: Words = {}
        with tesserocr.PyTessBaseAPI(path=str(tessdata()), lang="eng", psm=self.psm) as api:
            api.SetVariable("tessedit_do_invert", "1" if self.invert else "0")
            for path in images:
                with Image.open(path) as image:
                    dpi = image.info.get("dpi", (0, 0))[0]
                    api.SetImage(image.convert(self.mode))
                if dpi:
                    api.SetSourceResolution(int(dpi))
                rows = (line.split("\t") for line in api.GetTSVText(0).splitlines())
                found[path] = [row[11] for row in rows if len(row) == 12 and row[0] == "5" and row[11].strip()]
        return found


@contextmanager
def _silent() -> Iterator[None]:
    """Standard error goes nowhere: leptonica writes a line for every odd box."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


TRIALS = (
    Trial(),
    Trial(mode="RGB"),
    Trial(invert=False),
    Trial(psm=4),
    Trial(psm=6),
    Trial(psm=11),
)
"""Ours first; then one change each."""
