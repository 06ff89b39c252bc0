"""The settings of every stage, as frozen dataclasses: what ``--set section.key=value`` and a config file fill.

Each field's docstring is its help text and gives its unit. Bounds are checked here, so a wrong value is named before
anything starts. A section's name is the attribute's name in ``Settings``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stages.bounds import check, check_numbers

TextMode = Literal["auto", "layer", "ocr"]


@dataclass(frozen=True, kw_only=True)
class Render:
    """How a page becomes pixels."""

    engine: Literal["pdfium", "poppler"] = "pdfium"
    """the first engine to try; the other one is tried when it fails on a page"""
    dpi: int = 300
    """resolution at which PDF pages are rendered for OCR, in dots per inch"""
    timeout_s: float = 60.0
    """longest time without progress on one page, in seconds"""
    max_pixels: int = 100_000_000
    """largest page that is rendered, in pixels"""

    def __post_init__(self) -> None:
        check(18 <= self.dpi <= 1200, "render.dpi", "between 18 and 1200", self.dpi)
        check_numbers("render", self, above_0=("timeout_s", "max_pixels"))


@dataclass(frozen=True, kw_only=True)
class Ocr:
    """How pixels become words."""

    engine: Literal["tesserocr", "pytesseract"] = "tesserocr"
    """the first engine to try; the other one is tried when it fails on a page"""
    lang: str = "eng"
    """tesseract language data, several joined by +, as in eng+deu"""
    psm: int = 3
    """tesseract's page segmentation: 3 finds columns, 4 takes one column of lines, 6 one block, 11 scattered words"""
    timeout_s: float = 120.0
    """longest time for one page, in seconds"""

    def __post_init__(self) -> None:
        check(self.psm in {1, 3, *range(4, 14)}, "ocr.psm", "1 or 3 to 13", self.psm)
        check(bool(self.lang) and "/" not in self.lang, "ocr.lang", "tesseract languages like eng+deu", self.lang)
        check_numbers("ocr", self, above_0=("timeout_s",))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused, because it comes from outside."""

    file_mb: float = 512.0
    """largest document, in megabytes (10^6 bytes)"""
    pages: int = 20_000
    """most pages of one document"""
    seconds: float = 3_600.0
    """longest recording or video, in seconds"""

    def __post_init__(self) -> None:
        check_numbers("limits", self, above_0=("file_mb", "pages", "seconds"))


@dataclass(frozen=True, kw_only=True)
class Predict:
    """How the model is run."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """number format; auto takes bfloat16 where the hardware computes in it natively, else float32"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where the model runs; auto takes a GPU where Ray has one"""
    token_budget: int = 0
    """most padded tokens in one batch, visual ones counted; 0 goes by the device; a longer example goes alone"""
    workers: int = 0
    """model processes; 0 takes one a GPU, or as many as the CPUs feed"""

    def __post_init__(self) -> None:
        check_numbers("predict", self, from_0=("token_budget", "workers"))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All sections but the task's own, which each task declares."""

    render: Render = field(default_factory=Render)
    ocr: Ocr = field(default_factory=Ocr)
    limits: Limits = field(default_factory=Limits)
    predict: Predict = field(default_factory=Predict)
    text: TextMode = "auto"
    """auto takes a page's text layer when it is good and OCRs otherwise; layer and ocr force one"""
