"""What retrieval models give by hand: one text at a time through the model's own documented calls, search by force."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, BertTokenizer

import pipelines.realm
import pipelines.retribert  # noqa: F401 - transformers' Auto classes know both from here on
from pipelines.tasks.tiny import WORDS
from stages.base import Row

LENGTH = 64
"""Tokens that a tiny checkpoint takes."""


class Embedder:
    """A checkpoint loaded by AutoModel, and a call for questions and one for documents."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = BertTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def __call__(self, text: str, kind: str) -> list[float]:
        found = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=LENGTH)
        if self.model.config.model_type == "realm":
            return self.model(**found).projected_score[0].tolist()
        call = self.model.embed_questions if kind == "question" else self.model.embed_answers
        return call(found.input_ids, found.attention_mask)[0].tolist()


def features(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Vectors of what a row has."""
    embed = Embedder(folder)
    names = {"vector": "text", "question_vector": "question"}
    return [
        {ours: None if row.get(column) is None else embed(row[column], column) for ours, column in names.items()}
        for row in rows
    ]


def index(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """A text's tokens in runs of what the model takes, each embedded as the piece of text that it is."""
    embed = Embedder(folder)
    answers = []
    for row in rows:
        offsets = embed.tokenizer(row["text"], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        runs = [offsets[at : at + LENGTH - 2] for at in range(0, len(offsets), LENGTH - 2)]
        passages = [row["text"][run[0][0] : run[-1][1]] for run in runs]
        answers.append({"passages": passages, "passage_vectors": [embed(one, "text") for one in passages]})
    return answers


def search(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The five best of all texts that the tiny checkpoint has indexed."""
    embed = Embedder(folder)
    words = WORDS[-60:]
    texts = [f"the {word} of {other}" for word, other in zip(words, words[1:], strict=False)]
    documents = np.array([embed(text, "text") for text in texts])
    answers = []
    for row in rows:
        scores = documents @ np.array(embed(row["question"], "question"))
        best = np.argsort(-scores, kind="stable")[:5].tolist()
        hits: list[Any] = [{"uri": str(n), "text": texts[n], "score": float(scores[n])} for n in best]
        answers.append({"question": row["question"], "hits": hits})
    return answers


REFERENCES = {
    **{f"{family}/features": features for family in ("retribert", "realm")},
    "index": index,
    "search": search,
}
