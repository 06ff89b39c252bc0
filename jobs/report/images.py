"""Pictures of the chosen pages, drawn anew from their documents by the sandboxed reader and packed as WebP."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic

import numpy as np
from PIL import Image

from jobs.report.pages import PageView, placed
from jobs.report.survey import Key
from stages.errors import Code, RowError
from stages.fetch import fetched
from stages.keys import TABLE
from stages.sandbox import Sandbox, SandboxLimits, Value
from stages.settings import Limits

_UNDRAWABLE = frozenset(
    {Code.RENDER_TIMEOUT, Code.CRASH, Code.OUT_OF_MEMORY, Code.PAGE_TOO_LARGE, Code.CORRUPT, Code.PASSWORD_REQUIRED},
)
"""Pages that failed for these reasons are not tried again for a picture."""


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """How much drawing pages may cost."""

    width: int = 1000
    """Pixels; pages are never drawn wider."""
    megabytes: float = 15.0
    """All pictures together, in 10^6 bytes of the report."""
    quality: int = 68
    """WebP quality, 0 to 100."""
    page_s: float = 20.0
    """Longest time for one page, in seconds."""
    total_s: float = 120.0
    """Longest time for all pages, in seconds; those left over are shown without a picture."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A page's picture, or why there is none."""

    data: bytes = b""
    """A WebP file; empty where there is none."""
    width: int = 0
    height: int = 0
    note: str = ""
    """For the caption."""

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/webp;base64," + base64.b64encode(self.data).decode()


def pictures(views: Iterable[PageView], limits: PictureLimits, medium: str = "") -> dict[Key, Picture]:
    """A picture for each page that can still be drawn; a note for each other one that has words.

    ``medium``: image, audio or video, of a task that senses files; empty for pages. Places the views' marks on it.
    """
    found: dict[Key, Picture] = {}
    left, deadline = limits.megabytes * 1e6 * 3 / 4, monotonic() + limits.total_s  # base64 adds a third
    drawer = "media_child" if medium else "images_child"
    sandbox = Sandbox(f"jobs.report.{drawer}:open_drawer", limits=SandboxLimits(), settings={})
    with closing(sandbox):
        for view in views:
            if not view.key.page or {problem.code for problem in view.problems} & _UNDRAWABLE:
                continue
            if monotonic() > deadline:
                found[view.key] = Picture(note="Not drawn: the time for drawing pages was up.")
                continue
            if medium and TABLE.search(view.key.uri):
                continue  # its file is somewhere in the table
            picture = _picture(sandbox, view, limits, medium)
            left -= len(picture.data)
            found[view.key] = picture if left > 0 else Picture(note="Not drawn, to keep the report small.")
    return found


def _picture(sandbox: Sandbox, view: PageView, limits: PictureLimits, medium: str) -> Picture:
    try:
        with fetched(view.key.uri, None, Limits()) as path:
            # Not equal either where a table's uri names a file that no run has read.
            if _sha256(path, path.stat().st_mtime_ns) != view.doc_id:
                return Picture(note="The file has changed since; its words are drawn on a blank page.")
            request: dict[str, Value] = {"page": view.key.page, "width": limits.width, "turn": view.turn}
            request |= {"medium": medium, "depth": view.depth}
            answer = sandbox.call(request, path=str(path), timeout_s=limits.page_s, total_s=limits.page_s)
            if medium:
                placed(view, *(_span(answer.get(name)) for name in ("across", "down")))
            return _packed(answer.get("pixels"), limits)
    except RowError as error:
        why = "is no longer there" if error.code == Code.NOT_FOUND else f"cannot be drawn ({error.code})"
        return Picture(note=f"The file {why}; its words are drawn on a blank page.")


def _span(value: Value) -> float:
    if not isinstance(value, float) or not 0 < value < 1e9:
        raise RowError(Code.CRASH, "the reader answered with a picture of no size")
    return value


def _packed(pixels: Value, limits: PictureLimits) -> Picture:
    """Packs what the child drew, if it is a picture of the size asked for."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise RowError(Code.CRASH, "the reader answered with something else than a picture")
    if 0 in pixels.shape or pixels.shape[1] > limits.width:
        raise RowError(Code.CRASH, f"the reader answered with a picture of {pixels.shape}")
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.save(file, "WEBP", quality=limits.quality, method=4)
    return Picture(data=file.getvalue(), width=image.width, height=image.height)


@lru_cache(maxsize=16)  # the chosen pages of one document come in a row
def _sha256(path: Path, changed: int) -> str:
    """``changed``: the modification time, so that a file written anew is read anew."""
    del changed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
