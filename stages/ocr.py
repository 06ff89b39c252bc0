"""Words out of pixels with tesseract: two engines, one contract. Recognition runs inside the sandbox only.

``tesserocr`` holds tesseract in the process, set up once; it is the fast path. It reads grey (the same words as colour,
10–20 % sooner), tells tesseract the resolution, and looks again where the first look was poor:

* few letters found: once more with a threshold that follows the paper (Sauvola), because faint print between dark
  edges defeats tesseract's single one;
* most words stand taller than wide, or confidence is low: the page lies on its side or head; it is turned and read
  once more, and the better reading is kept. ``Reading.turned`` says by how much; boxes and size are of the page
  upright. No orientation data (osd) is needed: tesseract itself reads text that runs downwards, with good
  confidence, and upwards or upside down with bad (measured: 0.7–0.9 against 0.2–0.35).

``pytesseract`` starts the tesseract program and gives exactly what transformers' LayoutLM processors read with
``apply_ocr``: one look, as the page lies.

What they do not do: straighten a page. Tesseract reads a skew of 3° as well as none, loses words from 5° on and
everything at 8°.

The settings were tried on 67 receipts against their annotated lines: see ``manta bench ocr``. Words are tesseract's
own, also in Chinese and Japanese. tesseract must see OMP_THREAD_LIMIT=1 before it starts, or two processes take each
other's cores; the sandbox sets it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stages.errors import Code, RowError, UsageError
from stages.sandbox_child import progress
from stages.settings import Ocr, Settings
from stages.words import Words, normalised

if TYPE_CHECKING:
    import tesserocr
    from PIL.Image import Image

ENGINES = ("tesserocr", "pytesseract")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one look at an image gives."""

    words: Words
    image: Image
    """The image as it was read: upright."""
    turned: int = 0
    """Degrees clockwise by which the given image was turned to stand upright."""
    confidence: float = 0.0
    """Mean of tesseract's own confidence, by letters, 0–1."""
    letters: int = 0
    sideways: bool = False
    """Whether most words are taller than wide."""

    @property
    def weight(self) -> float:
        """Letters believed; the better of two readings has more."""
        return self.letters * self.confidence


class OcrEngine(Protocol):
    """Reads images in one language setting."""

    def read(self, image: Image, dpi: int) -> Reading:
        """``image`` is RGB; ``dpi`` its resolution. Raises RowError(CRASH) when tesseract fails."""


# ---- on the driver


_FOLDERS = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


def tessdata() -> Path:
    """The folder of tesseract's language data: TESSDATA_PREFIX, or where packages put it. Raises UsageError."""
    named = os.environ.get("TESSDATA_PREFIX")
    for folder in [named] if named else _FOLDERS:
        if Path(folder).is_dir():
            return Path(folder)
    where = f"TESSDATA_PREFIX = {named} is no folder" if named else "tesseract's language data is not installed"
    raise UsageError(f"{where}. Try: apt-get install tesseract-ocr")


def language_files(lang: str) -> list[Path]:
    """The language data of ``eng+deu``, in that order. Raises UsageError naming the package that is missing."""
    folder = tessdata()
    files = [folder / f"{name}.traineddata" for name in lang.split("+")]
    missing = [file.stem for file in files if not file.is_file()]
    if missing:
        packages = " ".join(f"tesseract-ocr-{name.replace('_', '-').lower()}" for name in missing)
        there = ", ".join(sorted(file.stem for file in folder.glob("*.traineddata"))) or "none"
        raise UsageError(
            f"ocr.lang: no tesseract language data for {', '.join(missing)} in {folder} (there: {there}). "
            f"Try: apt-get install {packages}",
        )
    return files


def check_languages(settings: Settings) -> None:
    """Raises UsageError where pages may need OCR and its language data, or the chosen program, is missing."""
    if settings.text == "layer":
        return
    language_files(settings.ocr.lang)
    if settings.ocr.engine == "pytesseract" and shutil.which("tesseract") is None:
        raise UsageError("ocr.engine=pytesseract needs the tesseract program. Try: apt-get install tesseract-ocr")


# ---- in the sandbox


def open_engine(name: str, ocr: Ocr) -> OcrEngine:
    """The engine of that name, set up. Raises RowError(CRASH) when it does not start."""
    return Tesserocr(ocr) if name == "tesserocr" else Pytesseract(ocr)


class Pytesseract:
    """The tesseract program, one start a page."""

    def __init__(self, ocr: Ocr) -> None:
        self._lang = ocr.lang
        self._config = "" if ocr.psm == 3 else f"--psm {ocr.psm}"

    def read(self, image: Image, dpi: int) -> Reading:  # noqa: ARG002  (transformers does not say it either)
        """Exactly the words and boxes that transformers' ``apply_tesseract`` gives, and their lines."""
        import pytesseract

        try:
            data = pytesseract.image_to_data(image, lang=self._lang, output_type="dict", config=self._config)
        except (pytesseract.TesseractError, pytesseract.TesseractNotFoundError, OSError) as error:
            raise RowError(Code.CRASH, "tesseract failed on the page", detail=f"pytesseract: {error}") from error
        rows = zip(*(data[name] for name in _COLUMNS), strict=True)
        return _reading(image, ((str(text), *map(float, numbers)) for text, *numbers in rows))


class Tesserocr:
    """tesseract in the process; its API object is set up once."""

    FEW_LETTERS = 20
    """Below this, the page is looked at once more."""
    LOW_CONFIDENCE = 0.5
    """Below this, the page is taken to lie on its head. Real receipts, bad prints among them, stay above 0.6."""

    def __init__(self, ocr: Ocr) -> None:
        import tesserocr

        try:
            self._api: tesserocr.PyTessBaseAPI = tesserocr.PyTessBaseAPI(
                path=str(tessdata()), lang=ocr.lang, psm=ocr.psm
            )
        except (RuntimeError, UsageError) as error:
            raise RowError(Code.CRASH, "tesseract does not start", detail=f"tesserocr: {error}") from error

    def read(self, image: Image, dpi: int) -> Reading:
        """The best of at most three looks."""
        best = self._look(image, dpi)
        if best.letters < self.FEW_LETTERS:
            faint = self._look(image, dpi, faint=True)
            best = max(best, faint, key=lambda reading: reading.weight)
        low = best.confidence < self.LOW_CONFIDENCE
        if not best.letters or not (best.sideways or low):
            return best
        # Text that runs downwards is read well: that page was turned clockwise and has to go back.
        turn = 180 if not best.sideways else (90 if low else 270)
        turned = self._look(image, dpi, turned=turn)
        enough = 0.9 if best.sideways else 1.2
        return turned if not turned.sideways and turned.weight > enough * best.weight else best

    def _look(self, image: Image, dpi: int, *, turned: int = 0, faint: bool = False) -> Reading:
        progress()
        image = turn(image, turned)
        grey = image.convert("L")
        pixels = grey.tobytes()
        try:
            for name, value in (_SAUVOLA if faint else _OTSU).items():
                self._api.SetVariable(name, value)
            self._api.SetImageBytes(pixels, grey.width, grey.height, 1, grey.width)
            self._api.SetSourceResolution(dpi)
            table = self._api.GetTSVText(0)
        except RuntimeError as error:
            raise RowError(Code.CRASH, "tesseract failed on the page", detail=f"tesserocr: {error}") from error
        finally:
            self._api.Clear()
        rows = (line.split("\t", 11) for line in table.splitlines())
        words = ((row[11], *map(float, row[1:11])) for row in rows if len(row) == 12 and row[0] == "5")
        return _reading(image, words, turned)


def turn(image: Image, turned: int) -> Image:
    """``image`` turned clockwise by 0, 90, 180 or 270 degrees."""
    from PIL.Image import Transpose

    # Pillow counts degrees the other way round.
    turns = {90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}
    return image.transpose(turns[turned]) if turned else image


_OTSU = {"thresholding_method": "0"}
_SAUVOLA = {"thresholding_method": "2", "thresholding_kfactor": "0.1"}
"""Tesseract's own factor, 0.34, misses print of a tenth of the paper's brightness; 0.1 found it on all pages tried."""
_COLUMNS = (
    "text",
    "page_num",
    "block_num",
    "par_num",
    "line_num",
    "word_num",
    "left",
    "top",
    "width",
    "height",
    "conf",
)
"""tesseract's table, without the level."""


def _reading(image: Image, rows: Iterable[tuple[str | float, ...]], turned: int = 0) -> Reading:
    """Rows in the order of ``_COLUMNS``; those of empty text are blocks, paragraphs and lines."""
    found = [(str(row[0]), row[1:]) for row in rows if str(row[0]).strip()]
    if not found:
        return Reading(words=Words.none(), image=image, turned=turned)
    words = [word for word, _ in found]
    numbers = np.array([row for _, row in found], np.float64)
    places = numbers[:, 5:9]  # left, top, width, height
    letters = np.fromiter(map(len, words), np.int64, len(words))
    long = letters >= 3
    new_line = (np.diff(numbers[:, :4], axis=0) != 0).any(axis=1)
    return Reading(
        words=Words(
            words=words,
            boxes=normalised(np.hstack([places[:, :2], places[:, :2] + places[:, 2:]]), *image.size),
            lines=np.concatenate([[0], np.cumsum(new_line)]).astype(np.int32),
        ),
        image=image,
        turned=turned,
        confidence=float((letters * numbers[:, 9]).sum() / letters.sum() / 100),
        letters=int(letters.sum()),
        sideways=int(long.sum()) >= 3 and float((places[long, 3] > places[long, 2]).mean()) > 0.5,
    )
