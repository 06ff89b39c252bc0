"""transformers by hand, as its documentation shows: rows in their order, eight at a time, padded to the longest.

Each function opens a checkpoint and gives what answers rows; its answers have the columns that ours are compared by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from pipelines.tasks.loading import quiet
from stages.base import Row

BATCH = 8
"""Rows at a time."""
Work: TypeAlias = Callable[[Sequence[Row]], list[Row]]
"""Rows to answers."""


def features(folder: Path) -> Work:
    """The mean of each text's last hidden states."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with quiet():
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def work(rows: Sequence[Row]) -> list[Row]:
        answers: list[Row] = []
        with torch.inference_mode():
            for some in _batches(rows):
                texts = [row["text"] for row in some]
                inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
                there = inputs["attention_mask"][..., None].float()
                vectors = (model(**inputs).last_hidden_state * there).sum(1) / there.sum(1)
                answers += [{"vector": vector} for vector in vectors.tolist()]
        return answers

    return work


def translation(folder: Path, prefix: str) -> Work:
    """``generate`` as the checkpoint's generation configuration says, behind T5's prefix."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    with quiet():
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

    def work(rows: Sequence[Row]) -> list[Row]:
        answers: list[Row] = []
        with torch.inference_mode():
            for some in _batches(rows):
                inputs = tokenizer([f"{prefix}{row['text']}" for row in some], padding=True, return_tensors="pt")
                written = tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)
                answers += [{"translation": text} for text in written]
        return answers

    return work


def entities(folder: Path, longest: int) -> Work:
    """LUKE asked about every span of up to ``longest`` words; of spans that overlap, the surest entity is kept."""
    import torch
    from transformers import LukeForEntitySpanClassification, LukeTokenizer

    with quiet():
        tokenizer = LukeTokenizer.from_pretrained(folder, task="entity_span_classification")
        model: Any = LukeForEntitySpanClassification.from_pretrained(folder)
        model.eval()

    def work(rows: Sequence[Row]) -> list[Row]:
        answers: list[Row] = []
        with torch.inference_mode():
            for some in _batches(rows):
                words = [cast("list[str]", row["words"]) for row in some]
                asked = [_spans(len(each), longest) for each in words]
                places = [_places(each) for each in words]
                spans = [
                    [(where[i][0], where[j - 1][1]) for i, j in mine] for where, mine in zip(places, asked, strict=True)
                ]
                inputs = tokenizer(
                    [" ".join(each) for each in words], entity_spans=spans, padding=True, return_tensors="pt"
                )
                shares = model(**inputs).logits.softmax(-1)
                answers += [
                    {"entities": _surest(each, mine, share[: len(mine)], model.config.id2label)}
                    for each, mine, share in zip(words, asked, shares, strict=True)
                ]
        return answers

    return work


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[at : at + BATCH] for at in range(0, len(rows), BATCH))


def _spans(count: int, longest: int) -> list[tuple[int, int]]:
    """First word and the one after the last, of every span."""
    return [(i, j) for i in range(count) for j in range(i + 1, min(i + longest, count) + 1)]


def _places(words: Sequence[str]) -> list[tuple[int, int]]:
    """Characters of each word in the words joined by spaces."""
    found, at = [], 0
    for word in words:
        found.append((at, at + len(word)))
        at += len(word) + 1
    return found


def _surest(words: Sequence[str], spans: Sequence[tuple[int, int]], shares: Any, names: Any) -> list[Row]:  # noqa: ANN401
    """Entities without overlaps, in order; label 0 is none."""
    scores, labels = (each.tolist() for each in shares.max(-1))
    free, found = [True] * len(words), []
    for n in sorted(range(len(spans)), key=lambda n: (-scores[n], spans[n])):
        start, end = spans[n]
        if labels[n] and all(free[start:end]):
            free[start:end] = [False] * (end - start)
            found.append({"label": names[labels[n]], "score": scores[n], "word_start": start, "word_end": end})
    return sorted(found, key=lambda one: cast("int", one["word_start"]))
