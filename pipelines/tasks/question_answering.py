"""Questions on texts, as in SQuAD: the answer is a run of the text's characters.

Transformers 5 has no such pipeline any more; windows, their overlap and the choice of the best answer are those that
its ``question-answering`` had, and of one window the answer is that of the documented example wherever the most
probable start and end make a span. An answer begins and ends where tokens do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pipelines.tasks.asking import AskingTask, gold_answers
from pipelines.tasks.base_text import text_of
from pipelines.tasks.words import Ints
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output


class QuestionAnswering(AskingTask):
    """Answers questions with a part of the text; long texts in windows."""

    name = "question-answering"
    summary = "answers questions with a part of the text"
    reads = ("text",)
    gold: ClassVar[tuple[str, ...]] = ("answers", "answer_starts")
    combines = ("question", "answer", "score", "page", "start", "end")
    auto_class = "AutoModelForQuestionAnswering"

    @property
    def window_length(self) -> int:
        """Most tokens of a window: 384 where the model takes as many."""
        return self.limit if self.options.max_length else min(self.limit, 384)

    @property
    def stride(self) -> int:
        """Tokens that neighbouring windows share: half the window, at most 128."""
        own = min(self.window_length // 2, 128)
        return own if self.options.stride is None else self.options.stride

    def question_ids(self, row: Row) -> Ints:
        """The question's sub-words."""
        question = text_of(row, "question")
        if not question.strip():
            raise RowError(Code.ENCODE_FAILED, "the question is empty")
        return self.sub_words.text(question).ids

    def encode(self, row: Row) -> list[Example]:
        """One example a window; ``chars`` (n, 2) are the characters of each of its sub-words."""
        page = self.sub_words.text(text_of(row))
        return [
            self.asked_example(window, {"chars": page.chars[window.start : window.end]})
            for window in self.lay(page, None, self.question_ids(row))
        ]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """The answer with its first character and the one after its last; empty where there is none."""
        found = self.best(outputs)
        if found is None or found[0] < 0:
            return self.no_answer(row, found)
        window, span = found
        chars = examples[window].arrays["chars"]
        start, end = int(chars[span.start, 0]), int(chars[span.end, 1])
        answer = text_of(row)[start:end]
        return {"question": row["question"], "answer": answer, "score": span.score, "start": start, "end": end}

    def gold_span(self, row: Row) -> tuple[int, int] | None:
        """Sub-words of the first accepted answer: where ``answer_starts`` says, else its first match in the text."""
        text, answers = text_of(row), gold_answers(row)
        starts = row.get("answer_starts")
        if isinstance(starts, list) and len(starts) == len(answers):
            places = [(start, answer) for start, answer in zip(starts, answers, strict=True) if answer]
            wrong = next((one for one in places if text[one[0] : one[0] + len(one[1])] != one[1]), None)
            if wrong is not None:
                raise RowError(Code.ENCODE_FAILED, f"the text at character {wrong[0]} is not the answer {wrong[1]!r}")
        else:
            places = [(start, answer) for answer in answers if answer and (start := text.find(answer)) >= 0]
        if not places:
            return None
        start, end = places[0][0], places[0][0] + len(places[0][1])
        chars = self.sub_words.text(text).chars
        inside = np.flatnonzero((chars[:, 0] < end) & (chars[:, 1] > start))
        return (int(inside[0]), int(inside[-1])) if len(inside) else None
