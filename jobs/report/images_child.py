"""Inside the sandbox: draws one page of a document, small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stages.errors import RowError
from stages.pages import PDF_ENGINES, Document, check_page, open_document

if TYPE_CHECKING:
    from stages.frames import Value
    from stages.sandbox_child import Handler

_MAX_PIXELS = 100_000_000
_MAX_HEIGHT = 4000


def open_drawer(settings: Mapping[str, Value]) -> Handler:
    """The sandbox's target: ``{page, width, turn}`` and a file → ``{pixels}``, uint8 (height, width, 3), never wider.

    ``turn``: degrees clockwise, 0, 90, 180 or 270, by which the page is turned first.
    """
    del settings

    def handle(request: Mapping[str, Value], file: str | None) -> Mapping[str, Value]:
        page, width, turn = (request[name] for name in ("page", "width", "turn"))
        assert isinstance(page, int)
        assert isinstance(width, int)
        assert isinstance(turn, int)
        assert file is not None
        return {"pixels": _draw(file, page, width, turn)}

    return handle


def _draw(file: str, page: int, width: int, turn: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Tries the other engine where the first fails. Raises the first one's RowError."""
    first: RowError | None = None
    for engine in PDF_ENGINES:
        try:
            document = open_document(file, engine)
            try:
                return _drawn(document, page, width, turn)
            finally:
                document.close()
        except RowError as error:
            first = first or error
    assert first is not None
    raise first


def _drawn(document: Document, page: int, width: int, turn: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    check_page(document, page)
    size = document.size(page)
    across = size.height if turn % 180 else size.width
    dpi = min(max(round(72 * width / across), 18), 300)
    image = document.render(page, dpi=dpi, max_pixels=_MAX_PIXELS).convert("RGB")
    image = image.rotate(-turn, expand=True) if turn else image  # Pillow counts anticlockwise
    image.thumbnail((width, _MAX_HEIGHT))
    return np.asarray(image)
