"""What transformers gives by hand for tasks on texts, one text at a time: its pipeline where one exists, else the
documented call. A row that the task must refuse is None here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, pipeline

from stages.base import Row

Options = Mapping[str, Any] | None
Reference = Callable[..., list[Row | None]]
LENGTH = 64
"""Tokens that a tiny checkpoint takes."""


def _load(folder: Path, model_class: str, **config: Any) -> tuple[Any, Any]:
    model = getattr(transformers, model_class).from_pretrained(folder, **config).eval()
    return AutoTokenizer.from_pretrained(folder), model


def _call(tokenizer: Any, model: Any, *texts: str | None) -> Any:
    with torch.no_grad():
        return model(**tokenizer(*texts, return_tensors="pt", truncation=True, max_length=LENGTH))


def features(folder: Path, rows: Sequence[Row], options: Options = None) -> list[Row | None]:
    """The feature-extraction pipeline, pooled."""
    options = options or {}
    cut = {"truncation": True, "max_length": LENGTH}
    extract = pipeline("feature-extraction", model=str(folder), tokenize_kwargs=cut)
    tokenizer, model = _load(folder, "AutoModel")
    answers = []
    for row in rows:
        outputs = _call(tokenizer, model, row["text"], row.get("text_pair"))
        vectors = outputs.last_hidden_state[0]
        if row.get("text_pair") is None:
            vectors = torch.tensor(extract(row["text"]))[0]
        by = {"mean": vectors.mean(0), "cls": vectors[0], "pooler": outputs.pooler_output[0]}
        pooled = by[options.get("pooling", "mean")]
        vector = pooled / pooled.norm() if options.get("normalize") else pooled
        answers.append({"vector": vector.tolist(), "vectors": vectors.tolist() if options.get("vectors") else None})
    return answers


def masked_lm(folder: Path, rows: Sequence[Row], options: Options = None) -> list[Row | None]:
    """The fill-mask pipeline."""
    options = options or {}
    how = {"truncation": True, "max_length": LENGTH}
    fill = pipeline("fill-mask", model=str(folder), tokenizer_kwargs=how, top_k=options.get("top_k", 5))
    chosen = {"targets": list(options["targets"])} if options.get("targets") else {}
    mask = fill.tokenizer.mask_token
    return [{"fills": _fills(fill(row["text"], **chosen))} if mask in row["text"] else None for row in rows]


def _fills(found: list[Any]) -> list[list[Row]]:
    """The pipeline gives one list for one mask, a list of lists for several."""
    lists = found if isinstance(found[0], list) else [found]
    names = {"token": "token_str", "score": "score", "text": "sequence"}
    return [[{ours: fill[theirs] for ours, theirs in names.items()} for fill in fills] for fills in lists]


def next_sentence(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The documented call: the first logit is for texts that follow each other."""
    tokenizer, model = _load(folder, "BertForNextSentencePrediction")
    return [_follows(_call(tokenizer, model, row["text"], row["text_pair"]).logits[0]) for row in rows]


def _follows(logits: torch.Tensor) -> Row:
    return {"next_sentence": bool(logits[0] >= logits[1]), "score": float(logits.softmax(-1).max())}


def pretraining(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The documented call; at each mask the five most probable pieces."""
    tokenizer, model = _load(folder, "BertForPreTraining")
    answers = []
    for row in rows:
        ids = tokenizer(row["text"], row["text_pair"], truncation=True, max_length=LENGTH)["input_ids"]
        outputs = _call(tokenizer, model, row["text"], row["text_pair"])
        masks = [n for n, number in enumerate(ids) if number == tokenizer.mask_token_id]
        fills = []
        for mask in masks:
            scores, tokens = outputs.prediction_logits[0, mask].softmax(-1).topk(5)
            replaced = [[*ids[:mask], token, *ids[mask + 1 :]] for token in tokens.tolist()]
            texts = [tokenizer.decode(each, skip_special_tokens=len(masks) == 1) for each in replaced]
            named = zip(tokens.tolist(), scores.tolist(), texts, strict=True)
            fills.append([{"token": tokenizer.decode([t]), "score": s, "text": text} for t, s, text in named])
        answers.append({"fills": fills, **_follows(outputs.seq_relationship_logits[0])})
    return answers


def causal_lm(folder: Path, rows: Sequence[Row], options: Options = None) -> list[Row | None]:
    """The loss of the documented call, and the text-generation pipeline."""
    options = {"max_new_tokens": 32, "do_sample": False, **(options or {})}
    tokenizer, model = _load(folder, "BertLMHeadModel", is_decoder=True)
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)
    write = pipeline("text-generation", model=model, tokenizer=tokenizer)
    answers: list[Row | None] = []
    for row in rows:
        encoding = tokenizer(row["text"], return_tensors="pt")
        if encoding["input_ids"].shape[1] > LENGTH - options["max_new_tokens"]:
            answers.append(None)
            continue
        with torch.no_grad():
            loss = model(**encoding, labels=encoding["input_ids"]).loss
        text = write(row["text"], **options)[0]["generated_text"] if options["max_new_tokens"] else row["text"]
        answers.append({"generated_text": text, "perplexity": float(loss.exp())})
    return answers


def text_classification(folder: Path, rows: Sequence[Row], options: Options = None) -> list[Row | None]:
    """The text-classification pipeline."""
    classify = pipeline("text-classification", model=str(folder), top_k=(options or {}).get("top_k"))
    number = classify.model.config.problem_type == "regression"
    answers = []
    for row in rows:
        texts = {"text": row["text"]} if row.get("text_pair") is None else {k: row[k] for k in ("text", "text_pair")}
        scores = classify(texts, truncation=True, max_length=LENGTH)
        answers.append({"label": None if number else scores[0]["label"], "score": scores[0]["score"], "scores": scores})
    return answers


def multiple_choice(folder: Path, rows: Sequence[Row]) -> list[Row | None]:
    """The documented call: all pairs of a row at once."""
    tokenizer, model = _load(folder, "AutoModelForMultipleChoice")
    answers = []
    for row in rows:
        choices = row["choices"]
        pairs = tokenizer(
            [row["text"]] * len(choices), choices, return_tensors="pt", padding=True, truncation=True, max_length=LENGTH
        )
        with torch.no_grad():
            shares = model(**{name: tensor[None] for name, tensor in pairs.items()}).logits[0].softmax(-1).tolist()
        best_first = sorted(range(len(choices)), key=lambda n: -shares[n])
        best = best_first[0]
        scores = [{"label": choices[n], "score": shares[n]} for n in best_first]
        answers.append({"choice": best, "answer": choices[best], "score": shares[best], "scores": scores})
    return answers


REFERENCES: dict[str, Reference] = {
    "features": features,
    "masked-lm": masked_lm,
    "next-sentence": next_sentence,
    "pretraining": pretraining,
    "causal-lm": causal_lm,
    "text-classification": text_classification,
    "multiple-choice": multiple_choice,
}
