"""What questions on texts and questions on pages share: which questions, the best span over windows, and training.

A window's answer is the most probable span of its part of the page, its start's probability times its end's, taken
over the window's part of the page and the CLS position; the page's answer is the best of its windows', the first of
equals. That is what transformers' question pipelines do.

L tokens of a window, n sub-words of the page in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.answers import Span, best_span, judge
from pipelines.tasks.base_text import text_of, unbatch
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.windowed import WindowedTask, WindowOptions
from pipelines.tasks.windows import Window
from pipelines.tasks.words import Ints
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class QuestionOptions(WindowOptions):
    """Options of tasks that answer questions."""

    questions: tuple[str, ...] = ()
    """questions to ask every page or text; without any, each row's own ``question`` is asked"""
    max_answer_len: int = 15
    """longest answer in tokens"""
    handle_impossible_answer: bool = False
    """admit that there is no answer, where that is more probable than the best one"""

    def __post_init__(self) -> None:
        super().__post_init__()
        empty = [one for one in self.questions if not one.strip()]
        if empty:
            raise UsageError(f"task.questions holds an empty question, {empty[0]!r}: leave it out")
        if self.max_answer_len < 1:
            raise UsageError(f"task.max_answer_len must be 1 or more, not {self.max_answer_len}")


class AskingTask(WindowedTask):
    """A task that answers questions with a span of what it reads."""

    writes = ("question", "answer", "score", "start", "end")
    optional: ClassVar[tuple[str, ...]] = ("question",)
    gold: ClassVar[tuple[str, ...]] = ("answers",)
    options_type = QuestionOptions
    options: QuestionOptions
    measures: ClassVar[tuple[str, ...]] = ("exact_match", "f1")
    """How answers are judged; those of pipelines.tasks.answers."""
    metric = Metric(name="f1")

    # ---- which questions

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where there is no question to ask."""
        if not self.options.questions and "question" not in columns:
            raise UsageError(
                f"{self.name} has no question: give the table a column question, or ask all with "
                "--set task.questions='[\"…\"]'",
            )

    def records_per_row(self) -> int:
        """How many questions each row is asked."""
        return max(len(self.options.questions), 1)

    def records(self, row: Row) -> list[Row]:
        """One row a question; ``record`` counts them on from the row's own."""
        questions = self.options.questions
        if not questions:
            return [row]
        own = row.get("record")
        first = own * len(questions) if isinstance(own, int) else 0
        return [{**row, "question": one, "record": first + place} for place, one in enumerate(questions)]

    # ---- the encoding half

    def question_ids(self, row: Row) -> Ints:
        """The question's sub-words. Raises RowError(ENCODE_FAILED) where there is none."""
        question = text_of(row, "question")
        if not question.strip():
            raise RowError(Code.ENCODE_FAILED, "the question is empty")
        return self.sub_words.question(question.split()).ids

    def asked_example(self, window: Window, more: Mapping[str, NDArray[np.generic]]) -> Example:
        """A window as an example; ``part`` (3,) says where the page begins in it, and which sub-words it holds."""
        part: Ints = np.array([window.first, window.start, window.end], np.int32)
        return self.window_example(window, {"part": part, **more}, pair=True)

    def best(self, outputs: Sequence[Output]) -> tuple[int, Span] | None:
        """The window that holds the best answer and the span in it; None where there is none."""
        found, null = None, float("inf")
        for place, out in enumerate(outputs):
            start, end = (np.asarray(out[name], np.float32) for name in ("start", "end"))
            span, none = best_span(start, end, self.options.max_answer_len)
            null = min(null, none)
            if span is not None and (found is None or span.score > found[1].score):
                found = place, span
        if self.options.handle_impossible_answer and (found is None or null > found[1].score):
            return -1, Span(start=0, end=0, score=null)
        return found

    @staticmethod
    def no_answer(row: Row, found: tuple[int, Span] | None) -> Row:
        """The row for no answer: 0 to 0 where the model says so, as in transformers; null where no span could be."""
        place, score = (None, 0.0) if found is None else (0, found[1].score)
        return {"question": row["question"], "answer": "", "score": score, "start": place, "end": place}

    # ---- the model half

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights. Padding is no place for an answer, so that a loss does not depend on it."""
        super().load_model(device, dtype)
        self.model.register_forward_hook(_no_answer_in_padding, with_kwargs=True)

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """Logits (1 + n,) for ``start`` and ``end``: the CLS position, then the window's sub-words of the page."""
        found = self.run(batch)
        answers: list[Output] = []
        for one, out in zip(examples, unbatch({"start": found.start_logits, "end": found.end_logits}), strict=True):
            first, start, end = one.arrays["part"].tolist()
            places = np.r_[0, first : first + end - start]
            answers.append({name: logits[places] for name, logits in out.items()})
        return answers

    # ---- training

    def gold_span(self, row: Row) -> tuple[int, int] | None:
        """First and last sub-word of the row's gold answer on the page; None where it does not stand there."""
        raise NotImplementedError

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (2,): first and last token of the answer in a window that has all of it, else 0, 0 (CLS)."""
        span = self.gold_span(row)
        labelled = []
        for one in examples:
            first, start, end = one.arrays["part"].tolist()
            there = span is not None and start <= span[0] and span[1] < end
            labels: Ints = np.array(span, np.int32) + first - start if there else np.zeros(2, np.int32)
            labelled.append(replace(one, arrays={**one.arrays, "labels": labels}))
        return labelled

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy of first and last tokens, summed, over ``num_items`` (two a window)."""
        import torch

        logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=1)
        return cross_entropy(logits, labels, num_items)

    def judged_by(self) -> tuple[Metric, ...]:
        """F1, and the other measures."""
        return tuple(Metric(name=name) for name in dict.fromkeys(("f1", *self.measures)))

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """Mean of the best value among each question's accepted ``answers``."""
        return judge([str(row["answer"]) for row in answers], [gold_answers(row) for row in gold], self.measures)


def _no_answer_in_padding(
    _model: torch.nn.Module,
    _given: tuple[Any, ...],
    inputs: Mapping[str, torch.Tensor],
    outputs: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401 - a ModelOutput
    """The output with logits as low as can be where there is padding, which transformers' models leave in."""
    import torch

    mask = inputs["attention_mask"]
    for name in ("start_logits", "end_logits"):
        logits_BL = outputs[name]
        lowest = torch.finfo(logits_BL.dtype).min
        outputs[name] = logits_BL.masked_fill(mask[:, : logits_BL.shape[1]] == 0, lowest)
    return outputs


def gold_answers(row: Row) -> list[str]:
    """The row's accepted answers. Raises RowError(ENCODE_FAILED) where they are missing or not text."""
    answers = row.get("answers")
    if not isinstance(answers, list) or not all(isinstance(one, str) for one in answers):
        raise RowError(Code.ENCODE_FAILED, f"answers must be a list of accepted answers, not {answers!r}")
    return answers
