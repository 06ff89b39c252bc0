"""SQuAD's JSON: paragraphs with questions and their accepted answers.

As in Rajpurkar et al. 2016 (https://arxiv.org/abs/1606.05250); version 2's impossible questions have no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.labelled.files import File
from pipelines import Task
from stages.base import Row
from stages.errors import UsageError

ABOUT = "SQuAD's JSON (data, paragraphs, qas)"
COLUMNS = ("text", "question", "answers", "answer_starts")
TABLES = False


def recognises(files: Sequence[File], task: Task) -> bool:
    """JSON whose ``data`` has paragraphs, for tasks that ask texts."""
    pages = [file for file in files if file.suffix == "json"]
    if "answer_starts" not in task.gold or not pages:
        return False
    first = pages[0].json()
    return isinstance(first, dict) and isinstance(first.get("data"), list)


def rows(files: Sequence[File]) -> Iterator[Row]:
    """One row a question."""
    for file in files:
        if file.suffix == "json":
            yield from _questions(file)


def _questions(file: File) -> Iterator[Row]:
    value = file.json()
    where = "data"
    try:
        assert isinstance(value, dict)
        for article, each in enumerate(value["data"]):
            for number, paragraph in enumerate(each["paragraphs"]):
                for question in paragraph["qas"]:
                    where = f"data[{article}].paragraphs[{number}], question {question.get('id', '')}"
                    answers = [] if question.get("is_impossible") else question["answers"]
                    yield {
                        "uri": file.uri,
                        "text": paragraph["context"],
                        "question": question["question"],
                        "answers": [one["text"] for one in answers],
                        "answer_starts": [one["answer_start"] for one in answers],
                    }
    except (AssertionError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file.uri}: {where} is not as in SQuAD: {error or 'no object'} is missing") from error
