"""Word labels made from key fields: where on a page the company, the date, the total stand that a record names.

A field's words are a run that spells its value, by letters and digits. Where none does, the run that is nearest to it
(Levenshtein, rapidfuzz), if it is near enough: the records of such data hold slips of the pen, and so does OCR. Of an
amount, which often stands on a page more than once, those runs count beside which the field's name stands, where there
are such. All runs that count are labelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from jobs.labelled.lines import PageWords

NEAR_ENOUGH = 85.0
"""Per cent of a run that must agree with the value, where none spells it."""
FUZZY_FROM = 6
"""Letters and digits of the shortest value that is looked for inexactly."""
_AMOUNT = re.compile(r"[^\d\s]{0,4}\s*(?P<number>-?\d[\d,]*([.,]\d{1,2})?)\s*[^\d\s]{0,3}")

Run = tuple[int, int]
"""First word, and the word after the last."""


def label_fields(page: PageWords, fields: Mapping[str, str]) -> list[str]:
    """B-, I- and O labels of the page's words; a field's name in capitals is its label.

    A word that several fields claim goes to the one with the longest value.
    """
    labels = ["O"] * len(page.words)
    spelled = _Spelled(page.words)
    for name, value in sorted(fields.items(), key=lambda field: -len(field[1])):
        for start, end in find_field(page, spelled, name, value):
            if all(label == "O" for label in labels[start:end]):
                kind = name.upper()
                labels[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return labels


def find_field(page: PageWords, spelled: _Spelled, name: str, value: str) -> list[Run]:
    """The runs of words that hold the value of the field ``name``; none where the page lacks it."""
    amount = _AMOUNT.fullmatch(value.strip())
    if amount is not None:
        runs = [(at, at + 1) for at, word in enumerate(page.words) if _same_amount(word, amount["number"])]
        named = [run for run in runs if _name_beside(page, name, run[0])]
        return named or runs[-1:]
    return spelled.runs(value) or spelled.nearest(value)


def _same_amount(word: str, number: str) -> bool:
    found = _AMOUNT.fullmatch(word)
    return found is not None and found["number"].replace(",", "") == number.replace(",", "")


def _name_beside(page: PageWords, name: str, at: int) -> bool:
    """Whether the field's name stands on the word's row of the page, left of it."""
    x0, top, _, bottom = page.boxes[at].tolist()
    for word, (left, y0, _, y1) in zip(page.words, page.boxes.tolist(), strict=True):
        same_row = 2 * (min(bottom, y1) - max(top, y0)) > min(bottom - top, y1 - y0)
        if same_row and left < x0 and name.lower() in _plain(word):
            return True
    return False


@dataclass(init=False)
class _Spelled:
    """A page's letters and digits in a row, and which word each belongs to."""

    text: str
    word: list[int]
    """(characters,)"""
    starts: set[int]
    """Where words begin, and the end."""

    def __init__(self, words: Sequence[str]) -> None:
        parts = [_plain(word) for word in words]
        self.text = "".join(parts)
        self.word = [number for number, part in enumerate(parts) for _ in part]
        self.starts = {0, *accumulate(len(part) for part in parts)}

    def runs(self, value: str) -> list[Run]:
        """Runs of whole words that spell the value; where there are none, those of which it is a part."""
        found: list[Run] = []
        inside: list[Run] = []
        wanted, at = _plain(value), -1
        while wanted and (at := self.text.find(wanted, at + 1)) >= 0:
            end = at + len(wanted)
            whole = at in self.starts and end in self.starts
            (found if whole else inside).append(self._run(at, end))
        return found or (inside if len(wanted) >= FUZZY_FROM else [])

    def nearest(self, value: str) -> list[Run]:
        """The run that is most like the value, where it is near enough."""
        from rapidfuzz.fuzz import partial_ratio_alignment

        wanted = _plain(value)
        if not FUZZY_FROM <= len(wanted) <= len(self.text):
            return []
        found = partial_ratio_alignment(wanted, self.text, score_cutoff=NEAR_ENOUGH)
        return [self._run(found.dest_start, found.dest_end)] if found is not None else []

    def _run(self, start: int, end: int) -> Run:
        """The words that characters belong to; those at the ends only where half of their own are among them."""
        words = self.word[start:end]
        first, last = words[0], words[-1]
        if first < last and 2 * words.count(first) < self.word.count(first):
            first += 1
        if first < last and 2 * words.count(last) < self.word.count(last):
            last -= 1
        return first, last + 1


def _plain(text: str) -> str:
    """Its letters and digits, upper and lower case alike."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())
