"""What transformers gives by hand for tasks with entities: LUKE's tokenizer and heads as documented, one row a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import LukeTokenizer

from stages.base import Row

LENGTH = 64
"""Tokens that a tiny checkpoint takes."""


def _load(folder: Path, model_class: str, **how: Any) -> tuple[Any, Any]:
    return LukeTokenizer.from_pretrained(folder, **how), getattr(transformers, model_class).from_pretrained(
        folder
    ).eval()


def _entities(row: Row) -> dict[str, Any]:
    if row.get("entity_spans") is None:
        return {}
    spans = [(start, end) for start, end in row["entity_spans"]]
    return {"entity_spans": spans, **({"entities": row["entity_names"]} if row.get("entity_names") else {})}


def _inputs(tokenizer: Any, text: str, **how: Any) -> Any:
    """The tokenizer's tensors; words cut by hand, because its own truncation is broken in transformers 5.23."""
    found = tokenizer(text, return_tensors="pt", **how)
    if found["input_ids"].shape[1] > LENGTH:
        found["input_ids"] = torch.cat([found["input_ids"][:, : LENGTH - 1], found["input_ids"][:, -1:]], dim=1)
        found["attention_mask"] = found["attention_mask"][:, :LENGTH]
    return found


@torch.no_grad()
def _call(tokenizer: Any, model: Any, text: str, **how: Any) -> Any:
    return model(**_inputs(tokenizer, text, **how))


def features(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented examples 1 and 2."""
    tokenizer, model = _load(folder, "LukeModel")
    answers = []
    for row in rows:
        outputs = _call(tokenizer, model, row["text"], **_entities(row))
        found = outputs.entity_last_hidden_state
        entities = None if found is None else found[0].tolist()
        answers.append(
            {"vector": outputs.last_hidden_state[0].mean(0).tolist(), "vectors": None, "entity_vectors": entities}
        )
    return answers


def masked_lm(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Both heads' five most probable at each mask."""
    tokenizer, model = _load(folder, "LukeForMaskedLM")
    titles = {number: title for title, number in tokenizer.entity_vocab.items()}
    answers = []
    for row in rows:
        how = _entities(row)
        outputs = _call(tokenizer, model, row["text"], **how)
        ids = _inputs(tokenizer, row["text"], **how)["input_ids"][0].tolist()
        masks = [n for n, number in enumerate(ids) if number == tokenizer.mask_token_id]
        fills = []
        for mask in masks:
            scores, tokens = outputs.logits[0, mask].softmax(-1).topk(5)
            texts = [
                tokenizer.decode([*ids[:mask], token, *ids[mask + 1 :]], skip_special_tokens=len(masks) == 1)
                for token in tokens.tolist()
            ]
            named = zip(tokens.tolist(), scores.tolist(), texts, strict=True)
            fills.append([{"token": tokenizer.decode([t]), "score": s, "text": text} for t, s, text in named])
        named_fills = None
        if how:
            names = how.get("entities") or ["[MASK]"] * len(how["entity_spans"])
            named_fills = []
            for n, ((start, end), name) in enumerate(zip(how["entity_spans"], names, strict=True)):
                if name != "[MASK]":
                    continue
                scores, tokens = outputs.entity_logits[0, n].softmax(-1).topk(5)
                pairs = zip(tokens.tolist(), scores.tolist(), strict=True)
                named_fills.append([{"token": titles[t], "score": s, "text": row["text"][start:end]} for t, s in pairs])
        answers.append({"fills": fills, "entity_fills": named_fills})
    return answers


def _classified(model_class: str, task: str) -> Any:
    def reference(folder: Path, rows: Sequence[Row]) -> list[Row]:
        tokenizer, model = _load(folder, model_class, task=task)
        answers = []
        for row in rows:
            shares = _call(tokenizer, model, row["text"], **_entities(row)).logits[0].softmax(-1).tolist()
            named = [{"label": model.config.id2label[n], "score": share} for n, share in enumerate(shares)]
            named.sort(key=lambda one: -one["score"])
            answers.append({"label": named[0]["label"], "score": named[0]["score"], "scores": named})
        return answers

    return reference


def spans(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented example: all spans of words at once, here of at most 16 words."""
    tokenizer, model = _load(folder, "LukeForEntitySpanClassification", task="entity_span_classification")
    answers = []
    for row in rows:
        text = " ".join(row["words"]) if row.get("words") is not None else row["text"]
        pattern = r"\S+" if row.get("words") is not None else r"\w+|[^\w\s]"
        places = [found.span() for found in re.finditer(pattern, text)]
        asked = [(i, j) for i in range(len(places)) for j in range(i, min(i + 16, len(places)))]
        with torch.no_grad():
            inputs = tokenizer(text, entity_spans=[(places[i][0], places[j][1]) for i, j in asked], return_tensors="pt")
            shares = model(**inputs).logits[0].softmax(-1)
        answers.append(_resolved(text, places, asked, shares, model.config.id2label))
    return answers


def _resolved(text: str, places: Any, asked: Any, shares: torch.Tensor, names: Any) -> Row:
    labels, scores, entities = ["O"] * len(places), [0.0] * len(places), []
    for (i, j), share in zip(asked, shares, strict=True):
        if i == j:
            scores[i] = float(share[0])
    best_first = sorted(range(len(asked)), key=lambda n: -float(shares[n].max()))
    for n in best_first:
        (i, j), label = asked[n], int(shares[n].argmax())
        if label and set(labels[i : j + 1]) == {"O"}:
            score = float(shares[n].max())
            labels[i : j + 1] = [f"B-{names[label]}"] + [f"I-{names[label]}"] * (j - i)
            scores[i : j + 1] = [score] * (j - i + 1)
            entity = {"text": text[places[i][0] : places[j][1]], "label": names[label], "score": score, "box": None}
            entities.append({**entity, "word_start": i, "word_end": j + 1})
    return {
        "words": [text[start:end] for start, end in places],
        "word_labels": labels,
        "word_scores": scores,
        "entities": sorted(entities, key=lambda one: one["word_start"]),
    }


REFERENCES = {
    "luke/features": features,
    "luke/masked-lm": masked_lm,
    "entity-classification": _classified("LukeForEntityClassification", "entity_classification"),
    "entity-pair-classification": _classified("LukeForEntityPairClassification", "entity_pair_classification"),
    "entity-span-classification": spans,
}
