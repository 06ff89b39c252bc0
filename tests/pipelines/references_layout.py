"""What transformers gives by hand for the tasks in windows: its pipeline where one exists, else the documented call.

Pages longer than the model are cut by the tokenizer's own truncation with overflow, one window at a time without
padding, and merged as each task says it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer, pipeline

from stages.base import Row

Reference = Callable[[Path, Sequence[Row]], list[Row]]
LENGTH = 64
"""Tokens that a tiny checkpoint takes."""


class Windows:
    """A checkpoint and its tokenizer; ``__call__`` gives each window's encoding, model inputs and outputs."""

    def __init__(self, folder: Path, model_class: str, *, stride: int = LENGTH // 4) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.of_words = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)  # byte-level ones want it
        self.model = getattr(transformers, model_class).from_pretrained(folder).eval()
        self.stride = stride

    def __call__(
        self, *texts: object, boxes: object = None, split: bool = True
    ) -> Iterator[tuple[int, object, object]]:
        found = (self.of_words if split else self.tokenizer)(
            *texts,
            is_split_into_words=split,
            truncation="only_second" if len(texts) == 2 else True,
            max_length=LENGTH,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for place, ids in enumerate(found["input_ids"]):
            inputs = {"input_ids": [ids]}
            if "token_type_ids" in found:
                inputs["token_type_ids"] = [found["token_type_ids"][place]]
            if boxes is not None:
                inputs["bbox"] = [[self._box(boxes, token) for token in zip(ids, found.word_ids(place), strict=True)]]
            with torch.no_grad():
                yield place, found, self.model(**{name: torch.tensor(value) for name, value in inputs.items()})

    def _box(self, boxes, token: tuple[int, int | None]) -> list[int]:
        """As LayoutLM's documentation has it: 0 for [CLS], 1000 for [SEP], a word's own for its tokens."""
        number, word = token
        if word is not None:
            return boxes[word]
        return [1000] * 4 if number == self.tokenizer.sep_token_id else [0] * 4


def most_context(lengths: Sequence[int], stride: int) -> list[list[bool]]:
    """For each window, which of its tokens have in no other window more context on their poorer side."""
    starts = np.cumsum([0, *lengths[:-1]]) - stride * np.arange(len(lengths))
    total = starts[-1] + lengths[-1]
    poorer = {}
    for window, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        for token in range(start, start + length):
            left = token - start if start else total
            right = start + length - 1 - token if start + length < total else total
            poorer.setdefault(token, []).append((min(left, right), -window))
    return [
        [max(poorer[start + n])[1] == -window for n in range(length)]
        for window, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def _windowed(run: Windows, *texts, **how):
    """Every window with the positions of the tokens that it answers for."""
    done = list(run(*texts, **how))
    pages = [[n for n, one in enumerate(found.sequence_ids(place)) if one is not None] for place, found, _ in done]
    mine = most_context([len(page) for page in pages], run.stride)
    for (place, found, outputs), page, own in zip(done, pages, mine, strict=True):
        yield place, found, outputs, [n for n, kept in zip(page, own, strict=True) if kept]


def token_classification(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Labels of first sub-words by hand; entities by transformers' own grouping, or all by its pipeline for a text."""
    boxed = transformers.AutoConfig.from_pretrained(folder).model_type == "layoutlm"
    run = Windows(folder, "AutoModelForTokenClassification")
    ner = pipeline("token-classification", model=str(folder), aggregation_strategy="first", stride=run.stride)
    return [
        _words_labelled(run, ner, row, boxed) if row.get("words") is not None else _text_labelled(run, ner, row)
        for row in rows
    ]


def _words_labelled(run: Windows, ner, row: Row, boxed: bool) -> Row:
    words, found = row["words"], {}
    for place, encoding, outputs, own in _windowed(run, words, boxes=row["boxes"] if boxed else None):
        shares = outputs.logits[0].softmax(-1)
        word_ids = encoding.word_ids(place)
        for n in own:
            if encoding["offset_mapping"][place][n][0] == 0:  # the word's first sub-word
                best = run.model.config.id2label[int(shares[n].argmax())], float(shares[n].max())
                found.setdefault(word_ids[n], best)  # bytes of one character have one offset
    labels, scores = zip(*(found[n] for n in range(len(words))), strict=True)
    return {"words": words, "boxes": row.get("boxes"), **_grouped(ner, row, words, labels, scores, " ".join)}


def _grouped(ner, row: Row, words, labels, scores, join) -> Row:
    tokens = [
        {"entity": label, "score": score, "word": "", "start": n, "end": n + 1}
        for n, (label, score) in enumerate(zip(labels, scores, strict=True))
    ]
    entities = []
    for group in ner.group_entities(tokens):
        inside = slice(group["start"], group["end"])
        boxes = np.array(row["boxes"])[inside] if row.get("boxes") is not None else None
        box = None if boxes is None else [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
        entity = {"label": group["entity_group"], "score": float(group["score"]), "text": join(words[inside])}
        entities.append({**entity, "word_start": group["start"], "word_end": group["end"], "box": box})
    kept = [entity for entity in entities if entity["label"] != "O"]
    return {"word_labels": list(labels), "word_scores": list(scores), "entities": kept}


def _text_labelled(run: Windows, ner, row: Row) -> Row:
    """A text alone: words are the tokenizer's. One that fits is also checked against the pipeline, word for word."""
    text, found = row["text"], {}
    for place, encoding, outputs, own in _windowed(run, text, split=False):
        shares = outputs.logits[0].softmax(-1)
        word_ids = encoding.word_ids(place)
        for n in own:
            span = encoding.word_to_chars(place, word_ids[n])
            if encoding["offset_mapping"][place][n][0] == span.start:
                best = run.model.config.id2label[int(shares[n].argmax())], float(shares[n].max())
                found.setdefault((span.start, span.end), best)
    spans = sorted(found)
    labels, scores = [found[span][0] for span in spans], [found[span][1] for span in spans]
    if len(list(run(text, split=False))) == 1:
        theirs = [(one["start"], one["end"], one["entity_group"]) for one in ner(text)]
        grouped = ner.group_entities(
            [
                {"entity": label, "score": 0.5, "word": "", "start": start, "end": end}
                for label, (start, end) in zip(labels, spans, strict=True)
            ],
        )
        ours = [(one["start"], one["end"], one["entity_group"]) for one in grouped if one["entity_group"] != "O"]
        assert ours == theirs
    words = [text[start:end] for start, end in spans]
    starts = {start: n for n, (start, _) in enumerate(spans)}
    answer = _grouped(ner, {}, words, labels, scores, lambda parts: parts)
    for entity in answer["entities"]:
        inside = spans[entity["word_start"] : entity["word_end"]]
        entity["text"] = text[inside[0][0] : inside[-1][1]]
        assert starts[inside[0][0]] == entity["word_start"]
    return {"words": words, "boxes": None, **answer}


def document_classification(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented call; over several windows the mean of their logits."""
    run = Windows(folder, "LayoutLMForSequenceClassification")
    names = run.model.config.id2label
    answers = []
    for row in rows:
        logits = torch.stack([outputs.logits[0] for _, _, outputs in run(row["words"], boxes=row["boxes"])]).mean(0)
        shares = logits.softmax(-1).tolist()
        best_first = sorted(range(len(shares)), key=lambda n: -shares[n])
        scores = [{"label": names[n], "score": shares[n]} for n in best_first]
        answers.append({**scores[0], "scores": scores})
    return answers


def page_features(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The mean of the last hidden states; over several windows the mean of theirs."""
    run = Windows(folder, "LayoutLMModel")
    hidden = [[out.last_hidden_state[0].mean(0) for *_, out in run(row["words"], boxes=row["boxes"])] for row in rows]
    return [{"vector": torch.stack(windows).mean(0).tolist(), "vectors": None} for windows in hidden]


def page_masked_lm(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented call, at each mask the five most probable pieces."""
    run = Windows(folder, "LayoutLMForMaskedLM")
    return [{"fills": _page_fills(run, row)} for row in rows]


def _page_fills(run: Windows, row: Row) -> list[list[Row]]:
    fills = []
    for place, encoding, outputs, own in _windowed(run, row["words"], boxes=row["boxes"]):
        ids = encoding["input_ids"][place]
        masks = [n for n in own if ids[n] == run.tokenizer.mask_token_id]
        for mask in masks:
            scores, tokens = outputs.logits[0, mask].softmax(-1).topk(5)
            texts = [
                run.tokenizer.decode([*ids[:mask], token, *ids[mask + 1 :]], skip_special_tokens=len(masks) == 1)
                for token in tokens.tolist()
            ]
            named = zip(tokens.tolist(), scores.tolist(), texts, strict=True)
            fills.append([{"token": run.tokenizer.decode([t]), "score": s, "text": text} for t, s, text in named])
    return fills


def document_question_answering(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Transformers' pipeline with the row's words and boxes."""
    ask = pipeline("document-question-answering", model=str(folder))
    answers = []
    for row in rows:
        word_boxes = list(zip(row["words"], row["boxes"], strict=True))
        best = ask({"image": None, "question": row["question"], "word_boxes": word_boxes})[0]
        answers.append({"question": row["question"], **best})
    return answers


def question_answering(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented example: the most probable start and end; where these make no span, the best pair that does.

    Windows of 64 tokens that share 32, and at most 15 tokens of answer, as the pipeline had it that version 5 dropped.
    """
    run = Windows(folder, "AutoModelForQuestionAnswering", stride=LENGTH // 2)
    return [_asked(run, row) for row in rows]


def _asked(run: Windows, row: Row) -> Row:
    best = {"score": -1.0}
    for place, encoding, outputs in run(row["question"], row["text"], split=False):
        inside = torch.tensor(
            [0 if n == 0 else -1 if one != 1 else 1 for n, one in enumerate(encoding.sequence_ids(place))]
        )
        start, end = (
            logits[0].masked_fill(inside < 0, -torch.inf).softmax(-1) * (inside > 0)
            for logits in (outputs.start_logits, outputs.end_logits)
        )
        pairs = (start[:, None] * end[None, :]).triu().tril(14)
        first, last = divmod(int(pairs.argmax()), len(end))
        if float(pairs.max()) > best["score"]:
            offsets = encoding["offset_mapping"][place]
            best = {"score": float(pairs.max()), "start": offsets[first][0], "end": offsets[last][1]}
            if _documented(outputs, inside):
                assert (int(outputs.start_logits.argmax()), int(outputs.end_logits.argmax())) == (first, last)
    return {"question": row["question"], "answer": row["text"][best["start"] : best["end"]], **best}


def _documented(outputs, inside: torch.Tensor) -> bool:
    """Whether the documented example's two positions make a span of the text."""
    first, last = int(outputs.start_logits.argmax()), int(outputs.end_logits.argmax())
    return first <= last < first + 15 and bool(inside[first] > 0) and bool(inside[last] > 0)


REFERENCES: dict[str, Reference] = {
    "token-classification": token_classification,
    "document-classification": document_classification,
    "layoutlm/features": page_features,
    "layoutlm/masked-lm": page_masked_lm,
    "document-question-answering": document_question_answering,
    "question-answering": question_answering,
}
