"""Long texts in sentences, so that each can be translated by itself and the translations rejoined."""

from __future__ import annotations

import re
from collections.abc import Callable

from stages.errors import Code, RowError

Span = tuple[int, int]
"""First character and the one after the last, without the spaces around."""

_WORD = re.compile(r"\S+")


def sentences(text: str, language: str) -> list[Span]:
    """The sentences of a text, paragraphs kept apart (the ``sentencex`` library's rules for that language).

    ``language`` is an ISO 639 code; the library's fallbacks serve languages that it has no rules for.
    """
    from sentencex import get_sentence_boundaries

    found = [(one["start_index"], one["end_index"]) for one in get_sentence_boundaries(language, text)]
    return [span for start, end in found if (span := _stripped(text, start, end))]


def fitting(text: str, span: Span, size: Callable[[str], int], room: int) -> list[Span]:
    """A sentence in as few parts as fit ``room`` tokens, cut between words.

    ``size`` counts a text's tokens. Raises RowError(ENCODE_FAILED) where one word alone does not fit.
    """
    if size(text[span[0] : span[1]]) <= room:
        return [span]
    words = [(span[0] + found.start(), span[0] + found.end()) for found in _WORD.finditer(text[span[0] : span[1]])]
    parts: list[Span] = []
    start = 0
    while start < len(words):
        low, high = start + 1, len(words)  # the most words from ``start`` on that fit, by halves
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high) if size(text[words[start][0] : words[middle - 1][1]]) <= room else (low, middle - 1)
            )
        part = (words[start][0], words[low - 1][1])
        if low == start + 1 and size(text[part[0] : part[1]]) > room:
            raise RowError(Code.ENCODE_FAILED, f"the word {text[part[0] : part[1]][:40]!r} is more than {room} tokens")
        parts.append(part)
        start = low
    return parts


def rejoined(text: str, spans: list[Span], translated: list[str]) -> str:
    """Translations of ``spans`` with what stood between them in the text: spaces, line ends, paragraphs."""
    ends = [0, *(end for _, end in spans)]
    between = [text[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
    return "".join(gap + one for gap, one in zip(between, translated, strict=True)) + text[ends[-1] :]


def _stripped(text: str, start: int, end: int) -> Span | None:
    part = text[start:end]
    if not part.strip():
        return None
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
