"""What retrieval models give by hand: one text at a time through the model's own documented calls, search by force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, BertTokenizer

import pipelines.realm
import pipelines.retribert  # noqa: F401 - transformers' Auto classes know both from here on
from pipelines.realm import RealmForOpenQA, RealmKnowledgeAugEncoder, RealmRetriever, RealmScorer, RealmTokenizer
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
    end = " is nothing" if embed.model.config.model_type == "realm" else ""
    texts = [f"the {word} of {other}{end}" for word, other in itertools.pairwise(words)]
    documents = np.array([embed(text, "text") for text in texts])
    answers = []
    for row in rows:
        scores = documents @ np.array(embed(row["question"], "question"))
        best = np.argsort(-scores, kind="stable")[:5].tolist()
        hits: list[Any] = [{"uri": str(n), "text": texts[n], "score": float(scores[n])} for n in best]
        answers.append({"question": row["question"], "hits": hits})
    return answers


@torch.no_grad()
def relevance(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The scorer as documented, one row at a time."""
    tokenizer = RealmTokenizer.from_pretrained(folder)
    model = RealmScorer.from_pretrained(folder).eval()
    answers = []
    for row in rows:
        text = tokenizer(row["text"], return_tensors="pt", truncation=True, max_length=LENGTH)
        found = tokenizer.batch_encode_candidates(
            [row["candidates"]], max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        scores = (
            model(**text, **{f"candidate_{name}": each for name, each in found.items()}).relevance_score[0].tolist()
        )
        named = [{"label": label, "score": score} for label, score in zip(row["candidates"], scores, strict=True)]
        answers.append({"scores": sorted(named, key=lambda one: -one["score"])})
    return answers


@torch.no_grad()
def evidence_masked_lm(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The encoder with one candidate at a time; probabilities weighed and added by hand."""
    tokenizer = RealmTokenizer.from_pretrained(folder)
    model = RealmKnowledgeAugEncoder.from_pretrained(folder).eval()
    answers = []
    for row in rows:
        ids = tokenizer(row["text"], truncation=True, max_length=LENGTH)["input_ids"]
        masks = [n for n, number in enumerate(ids) if number == tokenizer.mask_token_id]
        given = row.get("relevance") or [0.0] * len(row["candidates"])
        shares = torch.zeros(len(masks), model.config.vocab_size)
        for text, weight in zip(row["candidates"], torch.tensor(given).softmax(-1), strict=True):
            pair = tokenizer(row["text"], text, truncation=True, max_length=LENGTH, return_tensors="pt")
            logits = model(**{name: each[None] for name, each in pair.items()}).logits[0]
            shares += weight * logits[masks].softmax(-1)
        fills = []
        for mask, share in zip(masks, shares, strict=True):
            scores, tokens = share.topk(5)
            named = []
            for token, score in zip(tokens.tolist(), scores.tolist(), strict=True):
                text = tokenizer.decode([*ids[:mask], token, *ids[mask + 1 :]], skip_special_tokens=len(masks) == 1)
                named.append({"token": tokenizer.decode([token]), "score": score, "text": text})
            fills.append(named)
        answers.append({"fills": fills})
    return answers


@torch.no_grad()
def open_question_answering(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The documented call, one question at a time."""
    retriever = RealmRetriever.from_pretrained(folder)
    model = RealmForOpenQA.from_pretrained(folder, retriever=retriever).eval()
    answers = []
    for row in rows:
        question = retriever.tokenizer(row["question"], return_tensors="pt")
        out = model(**question)
        vector = model.embedder(**question).projected_score[0]
        scores = (model.block_emb @ vector).tolist()
        best = sorted(range(len(scores)), key=lambda n: -scores[n])[: model.config.reader_beam_size]
        hits = [{"uri": str(n), "text": retriever.block_records[n], "score": scores[n]} for n in best]
        answers.append(
            {
                "question": row["question"],
                "answer": retriever.tokenizer.decode(out.predicted_answer_ids, skip_special_tokens=True),
                "score": float(out.reader_output.log_probability.exp()),
                "evidence": hits[int(out.reader_output.block_idx)]["text"],
                "hits": hits,
            }
        )
    return answers


REFERENCES = {
    "open-question-answering": open_question_answering,
    "relevance": relevance,
    "realm/masked-lm": evidence_masked_lm,
    **{f"{family}/features": features for family in ("retribert", "realm")},
    "index": index,
    "search": search,
}
