"""A guess at a question's answer from one text, without any model: what kind of thing is asked, and the first of it."""

from __future__ import annotations

import re

_AMOUNT = re.compile(r"\b(how (many|much|old|long|far|big|large)|what (year|percent|number|score|yard)|when)\b", re.I)
_NUMBER = re.compile(r"[$€£]?\d[\d,.]*\d|\d+")
_NAME = re.compile(r"[A-Z][\w'’.-]*(?: (?:of |the )?[A-Z0-9][\w'’.-]*)*")
_WORD = re.compile(r"\w+")


def guess(question: str, text: str) -> str:
    """A number where an amount or a date is asked for, else a name that the question does not say; "" for none."""
    if _AMOUNT.search(question):
        found = _NUMBER.search(text)
        if found:
            return found.group()
    said = {word.lower() for word in _WORD.findall(question)}
    names = (found.group().rstrip(".") for found in _NAME.finditer(text))
    return next((name for name in names if not {word.lower() for word in _WORD.findall(name)} & said), "")
