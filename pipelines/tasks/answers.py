"""Answers as spans: the best one of a window, where a gold answer stands, and how answers are judged."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Span:
    """The best answer of one window."""

    start: int
    """First token, counted from the window's first sub-word of the page."""
    end: int
    """Last token, inclusive."""
    score: float
    """Probability of the start times that of the end."""


def best_span(start: Floats, end: Floats, max_answer_len: int) -> tuple[Span | None, float]:
    """The most probable span of at most ``max_answer_len`` tokens, and the probability that there is no answer.

    ``start`` and ``end`` are logits (1 + n,): the CLS position, which stands for no answer, then the window's
    sub-words of the page. All other tokens are left out of the softmax, as transformers' pipeline does. There is no
    span where the window holds nothing of the page or all is improbable. Of equal spans the first counts.
    """
    starts, ends = _softmax(start), _softmax(end)
    null = float(starts[0] * ends[0])
    starts, ends = starts[1:], ends[1:]
    n = len(starts)
    width = min(max_answer_len, n)
    if not width:
        return None, null
    reach = np.concatenate([ends, np.zeros(width - 1, np.float32)])
    products = starts[:, None] * np.lib.stride_tricks.sliding_window_view(reach, width)
    place = int(products.argmax())
    first, more = divmod(place, width)
    score = float(products[first, more])
    return (Span(start=first, end=first + more, score=score) if score > 0 else None), null


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float32)


def find_words(words: Sequence[str], answers: Sequence[str]) -> tuple[int, int] | None:
    """First and last word of the first of ``answers`` that stands on the page, in any case of letters; else None."""
    lower = [word.lower() for word in words]
    for answer in answers:
        wanted = answer.lower().split()
        n = len(wanted)
        for place in range(len(lower) - n + 1 if n else 0):
            if lower[place : place + n] == wanted:
                return place, place + n - 1
    return None


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _normal(text: str) -> str:
    """SQuAD's comparison form: small letters, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, gold: str) -> float:
    """1 where the answers are the same in SQuAD's comparison form, else 0."""
    return float(_normal(answer) == _normal(gold))


def token_f1(answer: str, gold: str) -> float:
    """F1 over the words that both answers have, in SQuAD's comparison form."""
    ours, theirs = _normal(answer).split(), _normal(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs))


def anls(answer: str, gold: str) -> float:
    """Normalised Levenshtein similarity, 0 below one half (Biten et al. 2019, Scene Text Visual Question Answering)."""
    from rapidfuzz.distance import Levenshtein

    near = float(Levenshtein.normalized_similarity(" ".join(answer.lower().split()), " ".join(gold.lower().split())))
    return near if near >= 0.5 else 0.0


JUDGES: dict[str, Callable[[str, str], float]] = {"exact_match": exact, "f1": token_f1, "anls": anls}


def judge(answers: Sequence[str], gold: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, float]:
    """Mean over questions of each measure's best value among the accepted answers; no accepted answer means none."""
    return {
        name: float(np.mean([_best(JUDGES[name], one, right) for one, right in zip(answers, gold, strict=True)]))
        for name in names
    }


def _best(measure: Callable[[str, str], float], answer: str, accepted: Sequence[str]) -> float:
    return max((measure(answer, right) for right in accepted), default=float(not answer))
