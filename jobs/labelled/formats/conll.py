"""CoNLL files: one word a line, its label in the last column, an empty line after each sentence.

As in CoNLL-2003 (Tjong Kim Sang and De Meulder 2003, https://aclanthology.org/W03-0419) and WNUT-17: columns stand
apart by tabs, where a line has any, else by spaces. ``-DOCSTART-`` lines and CoNLL-U's ``# key = value`` are passed by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jobs.labelled.files import File
from pipelines import Task
from stages.base import Row
from stages.errors import UsageError

ABOUT = "CoNLL files (.conll, .bio, .iob, or .txt with a word and its label a line)"
COLUMNS = ("words", "labels")
TABLES = False
_SUFFIXES = frozenset({"conll", "conll2003", "bio", "iob", "iob2"})
_LABEL = re.compile(r"O|[BIESLU]-\S.*")


def recognises(files: Sequence[File], task: Task) -> bool:
    """Files by their suffix, or text files that begin with words and labels."""
    if "labels" not in task.gold:
        return False
    return any(file.suffix in _SUFFIXES for file in files) or any(map(_labelled, _texts(files)[:1]))


def rows(files: Sequence[File]) -> Iterator[Row]:
    """One row a sentence."""
    for file in [each for each in files if each.suffix in _SUFFIXES] or _texts(files):
        yield from _sentences(file)


def _texts(files: Sequence[File]) -> list[File]:
    return [file for file in files if file.suffix in {"txt", "tsv"}]


def _labelled(file: File) -> bool:
    """Whether the first lines are words with labels."""
    lines = [line for line in file.text().split("\n")[:200] if line.strip() and not _passed_by(line)]
    parts = [_columns(line) for line in lines]
    return bool(parts) and all(len(each) > 1 and _LABEL.fullmatch(each[-1]) for each in parts)


def _sentences(file: File) -> Iterator[Row]:
    words: list[str] = []
    labels: list[str] = []
    for number, line in file.lines():
        if not line.strip():
            if words:
                yield {"uri": file.uri, "words": words, "labels": labels}
                words, labels = [], []
        elif not _passed_by(line):
            parts = _columns(line)
            if len(parts) < 2:
                raise UsageError(f"{file.uri}, line {number}: {line.strip()[:40]!r} has no label beside it")
            words.append(parts[0])
            labels.append(parts[-1])
    if words:
        yield {"uri": file.uri, "words": words, "labels": labels}


def _passed_by(line: str) -> bool:
    return line.startswith("-DOCSTART-") or re.match(r"# \S+ = ", line) is not None


def _columns(line: str) -> list[str]:
    return [part.strip() for part in line.strip("\r\n").split("\t") if part.strip()] if "\t" in line else line.split()
