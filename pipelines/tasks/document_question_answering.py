"""Questions on pages: the answer is a run of the page's words, as transformers' document-question-answering gives it.

Windows, their overlap, boxes and the choice of the best answer are that pipeline's. For training, the answer's words
are looked for on the page: the first match of the first accepted answer that stands there, whatever its case; a
window without it learns the CLS position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pipelines.tasks.answers import find_words
from pipelines.tasks.asking import AskingTask, gold_answers
from pipelines.tasks.words import read_words
from stages.base import Row
from stages.examples import Example, Output


class DocumentQuestionAnswering(AskingTask):
    """Answers questions with words of the page; over a document's pages the surest answer counts."""

    name = "document-question-answering"
    summary = "answers questions with words of the page"
    reads: ClassVar[tuple[str, ...]] = ("words", "boxes")
    combines = ("question", "answer", "score", "page", "start", "end")
    measures = ("exact_match", "f1", "anls")
    auto_class = "AutoModelForDocumentQuestionAnswering"
    boxed = True

    @property
    def stride(self) -> int:
        """Tokens that neighbouring windows share: half the window, at most 256."""
        own = min(self.window_length // 2, 256)
        return own if self.options.stride is None else self.options.stride

    def encode(self, row: Row) -> list[Example]:
        """One example a window; ``word`` (n,) says to which word each of its sub-words belongs."""
        page, boxes = self.read(row)
        return [
            self.asked_example(window, {"word": page.word[window.start : window.end]})
            for window in self.lay(page, boxes, self.question_ids(row))
        ]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """The answer with its first and last word on the page; empty, and without words, where there is none."""
        found = self.best(outputs)
        if found is None or found[0] < 0:
            return self.no_answer(row, found)
        window, span = found
        word = examples[window].arrays["word"]
        start, end = int(word[span.start]), int(word[span.end])
        answer = " ".join(read_words(row)[start : end + 1])
        return {"question": row["question"], "answer": answer, "score": span.score, "start": start, "end": end}

    def gold_span(self, row: Row) -> tuple[int, int] | None:
        """Sub-words of the first match of the first accepted answer whose words stand on the page."""
        words = read_words(row)
        found = find_words(words, gold_answers(row))
        if found is None:
            return None
        word = self.sub_words.words(words).word
        first, past = np.searchsorted(word, found[0]), np.searchsorted(word, found[1], side="right")
        return (int(first), int(past) - 1) if first < past else None
