"""What transformers gives by hand for tasks that write texts: the documented ``generate`` call, one text at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from stages.base import Row

LENGTH = 64
"""Tokens that a tiny checkpoint takes."""


def translation(folder: Path, rows: Sequence[Row], prefix: str = "", **options: Any) -> list[Row]:
    """``generate`` of a text that fits; else of as many words at a time as fit."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    answers = []
    for row in rows:
        whole = str(row["text"])
        fits = len(tokenizer(prefix + whole)["input_ids"]) <= LENGTH
        parts = [whole] if fits else packed(whole, lambda text: len(tokenizer(prefix + text)["input_ids"]))
        written = [by_hand(tokenizer, model, prefix + part, options) for part in parts]
        sequences = [joined([texts[n] for texts in written]) for n in range(options.get("num_return_sequences", 1))]
        answers.append(
            {
                "translation": sequences[0]["text"],
                "score": sequences[0]["score"],
                "sequences": sequences if len(sequences) > 1 else None,
            }
        )
    return answers


def packed(text: str, size: Any) -> list[str]:
    parts: list[str] = []
    for word in text.split():
        if parts and size(f"{parts[-1]} {word}") <= LENGTH:
            parts[-1] = f"{parts[-1]} {word}"
        else:
            parts.append(word)
    return parts


@torch.no_grad()
def by_hand(tokenizer: Any, model: Any, text: str, options: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Texts, the sums of their tokens' log probabilities, and how many tokens these are."""
    inputs = tokenizer(text, return_tensors="pt")
    answers = []
    for ids in model.generate(**inputs, **options):
        tokens = ids[1:].tolist()
        if model.config.eos_token_id in tokens:
            tokens = tokens[: tokens.index(model.config.eos_token_id) + 1]
        before = torch.tensor([[model.config.decoder_start_token_id, *tokens[:-1]]])
        logits = model(**inputs, decoder_input_ids=before, use_cache=False).logits[0].log_softmax(-1)
        likely = sum(float(logits[place, token]) for place, token in enumerate(tokens))
        answers.append((tokenizer.decode(ids, skip_special_tokens=True), likely, len(tokens)))
    return answers


def joined(parts: Sequence[tuple[str, float, int]]) -> Row:
    text = " ".join(text for text, _, _ in parts)
    return {"text": text, "score": math.exp(sum(likely for _, likely, _ in parts) / sum(n for *_, n in parts))}


def t5(folder: Path, rows: Sequence[Row], **options: Any) -> list[Row]:
    """T5 is told what to do."""
    return translation(folder, rows, "translate English to German: ", **options)


REFERENCES = {"t5/translation": t5, "fsmt/translation": translation}
