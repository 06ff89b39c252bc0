"""A guess at a question's answer from one text, without any model: what kind of thing is asked, and the first of it."""

from __future__ import annotations

import re

_AMOUNT = re.compile(r"\b(how (many|much|old|long|far|big|large)|what (year|percent|number|score|yard)|when)\b", re.I)
_NUMBER = re.compile(r"[$€£]?\d[\d,.]*\d|\d+")
_NAME = re.compile(r"[A-Z][\w'’.-]*(?: (?:of |the )?[A-Z0-9][\w'’.-]*)*")
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    """
a after all although an and another are as at because before both but by despite during each for from he her his how
however i if in instead is it its many most no of on one only other she since so some that the their there these they
this those three to two under until was we were when where while with
""".split()  # noqa: SIM905
)
"""Words that begin a sentence and are no names."""


def guess(question: str, text: str) -> str:
    """A number where an amount or a date is asked for, else a name that the question does not say; "" for none."""
    if _AMOUNT.search(question):
        found = _NUMBER.search(text)
        if found:
            return found.group()
    said = {word.lower() for word in _WORD.findall(question)}
    for found in _NAME.finditer(text):
        words = found.group().rstrip(".").split()
        while words and words[0].lower() in _COMMON:
            words = words[1:]
        if words and not {word.lower() for word in _WORD.findall(" ".join(words))} & said:
            return " ".join(words)
    return ""
