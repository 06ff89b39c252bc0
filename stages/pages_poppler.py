"""PDF through poppler's programs (pdfinfo, pdftotext; pdftoppm by way of pdf2image): the other engine.

Runs inside the sandbox only, which also holds the programs' time and memory. They are found on PATH.
"""

from __future__ import annotations

import re
import subprocess
from itertools import groupby

import numpy as np
import pdf2image
from numpy.typing import NDArray
from pdf2image.exceptions import PDFInfoNotInstalledError, PDFPageCountError, PDFSyntaxError
from PIL import Image

from stages.errors import Code, RowError
from stages.pages import Size, check_page, check_pixels, check_sides
from stages.text_layer import INK_DPI, Evidence, Layer, shown, unmapped_share
from stages.words import Words, normalised

_PAGES = re.compile(r"^Pages:\s+(\d+)", re.MULTILINE)
_SIZE = re.compile(r"^Page\s+\d+ size:\s+(\S+) x (\S+) pts", re.MULTILINE)
_ROTATION = re.compile(r"^Page\s+\d+ rot:\s+(-?\d+)", re.MULTILINE)
_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
"""Hebrew, Arabic and their neighbours."""
_LTR_RUN = re.compile("[0-9A-Za-z.,:/%\u0660-\u0669\u06f0-\u06f9]{2,}")
_SAID = 2_000


class PopplerDocument:
    """A PDF that poppler opens; each question starts a program."""

    engine = "poppler"

    def __init__(self, path: str) -> None:
        """Asks for the number of pages. Raises RowError(PASSWORD_REQUIRED, CORRUPT, EMPTY)."""
        self._path = path
        found = _PAGES.search(self._run("pdfinfo", self._path))
        self.pages = int(found[1]) if found else 0
        if self.pages < 1:
            raise RowError(Code.EMPTY, "the document has no pages", detail="pdfinfo: 0 pages")

    def size(self, page: int) -> Size:
        """Points as seen, from the page's boxes."""
        check_page(self, page)
        said = self._run("pdfinfo", "-f", str(page), "-l", str(page), self._path)
        size, rotation = _SIZE.search(said), _ROTATION.search(said)
        if size is None:
            raise RowError(Code.CORRUPT, f"page {page} cannot be read", detail="pdfinfo: no page size")
        width, height = float(size[1]), float(size[2])
        check_sides((width, height))
        turned = rotation is not None and int(rotation[1]) % 180 == 90
        return Size(width=height, height=width) if turned else Size(width=width, height=height)

    def dpi(self, page: int, dpi: int) -> int:  # noqa: ARG002
        """As asked."""
        return dpi

    def render(self, page: int, *, dpi: int, max_pixels: int) -> Image.Image:
        """The page at ``dpi`` as RGB. Raises RowError(PAGE_TOO_LARGE, CORRUPT)."""
        check_pixels(self.size(page), dpi=dpi, max_pixels=max_pixels)
        return self._drawn(page, dpi, grey=False)

    def layer(self, page: int) -> Layer:
        """The page's text layer; how much of it is images is not known, so its ink decides."""
        size = self.size(page)
        words = _words(
            self._run("pdftotext", "-tsv", "-cropbox", "-f", str(page), "-l", str(page), self._path, "-"), size
        )
        text = "".join(words.words)
        evidence = Evidence(
            characters=len(text),
            unmapped=unmapped_share(text),
            alphanumeric=sum(map(str.isalnum, text)) / max(1, len(text)),
            invisible=0.0,
            images=None,
            drawings=0,
        )
        return Layer(words=words, size=size, evidence=evidence, engine=self.engine, ink=lambda: self._ink(page, size))

    def close(self) -> None:
        """Nothing stays open."""

    def _ink(self, page: int, size: Size) -> NDArray[np.uint8]:
        dpi = min(INK_DPI, int(INK_DPI * 2_400 / max(size.width, size.height)))
        return np.asarray(self._drawn(page, max(1, dpi), grey=True))

    def _drawn(self, page: int, dpi: int, *, grey: bool) -> Image.Image:
        try:
            images: list[Image.Image] = pdf2image.convert_from_path(
                self._path, dpi=dpi, first_page=page, last_page=page, use_cropbox=True, grayscale=grey
            )
        except PDFInfoNotInstalledError as error:
            raise _missing("pdftoppm") from error
        except (PDFPageCountError, PDFSyntaxError, OSError, ValueError) as error:
            raise _refused(str(error)) from error
        if len(images) != 1:
            raise RowError(Code.CORRUPT, f"page {page} cannot be rendered", detail="pdftoppm gave no image")
        return images[0].convert("L" if grey else "RGB")

    def _run(self, *argv: str) -> str:
        try:
            done = subprocess.run(argv, capture_output=True, check=False)
        except FileNotFoundError as error:
            raise _missing(argv[0]) from error
        said = done.stderr.decode("utf-8", "replace")
        if done.returncode < 0:
            raise RowError(Code.CRASH, f"{argv[0]} died of signal {-done.returncode}", detail=said[-_SAID:])
        # It goes on after an encryption that it does not know, and then reads noise.
        if done.returncode or "Standard security handler" in said:
            raise _refused(said)
        return done.stdout.decode("utf-8", "replace")


def _words(tsv: str, size: Size) -> Words:
    """The table of ``pdftotext -tsv``: a row a word, rows of level 4 begin a line; points of the page as seen."""
    words: list[str] = []
    boxes: list[tuple[float, ...]] = []
    lines: list[int] = []
    line = 0
    for row in tsv.splitlines()[1:]:
        cells = row.split("\t", 11)
        if cells[0] == "4":
            line += 1
        if cells[0] != "5" or len(cells) < 12 or not cells[11].strip():
            continue
        left, top, width, height = map(float, cells[6:10])
        x, y = left + width / 2, top + height / 2
        if 0 <= x <= size.width and 0 <= y <= size.height:
            words.append(shown(cells[11].strip()))
            boxes.append((left, top, left + width, top + height))
            lines.append(line)
    found = Words(
        words=words,
        boxes=normalised(boxes, size.width, size.height),
        lines=np.array(lines, np.int32),
    )
    return _logical(found) if any(map(_RTL.search, words)) else found


def _logical(words: Words) -> Words:
    """Lines in reading order where poppler gives them as painted, from left to right: those of mostly
    right-to-left words are reversed, but for the left-to-right words and numbers that stand together in them."""
    order: list[int] = []
    for _, group in groupby(range(len(words.words)), key=lambda i: words.lines[i]):
        line = list(group)
        if 2 * sum(bool(_RTL.search(words.words[i])) for i in line) > len(line):
            line.reverse()
            runs = groupby(line, key=lambda i: bool(_RTL.search(words.words[i])))
            line = [i for rtl, run in runs for i in (run if rtl else reversed(list(run)))]
        order += line
    turned = words.take(order)
    read = [_LTR_RUN.sub(lambda run: run[0][::-1], word[::-1]) if _RTL.search(word) else word for word in turned.words]
    return Words(words=read, boxes=turned.boxes, lines=turned.lines)


def _refused(said: str) -> RowError:
    detail = f"poppler: {said.strip()[-_SAID:]}"
    if "Incorrect password" in said or "security handler" in said:
        return RowError(Code.PASSWORD_REQUIRED, "the document asks for a password", detail=detail)
    return RowError(Code.CORRUPT, "the document cannot be opened", detail=detail)


def _missing(program: str) -> RowError:
    return RowError(
        Code.CORRUPT,
        "the document cannot be opened",
        detail=f"poppler: {program} is not installed (apt-get install poppler-utils)",
    )
