"""Logits to labels with scores, as transformers' classification pipelines do it, by the checkpoint's problem type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.base import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Along the last axis, without overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Element by element, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def problem_type(config: PreTrainedConfig) -> str:
    """``regression``, ``multi_label_classification`` or ``single_label_classification``.

    Where config.json does not say, one label means a probability of that label (sigmoid), several mean one of them.
    """
    if config.problem_type is not None:
        return str(config.problem_type)
    return "multi_label_classification" if config.num_labels == 1 else "single_label_classification"


def label_names(config: PreTrainedConfig) -> list[str]:
    """The checkpoint's labels, in the order of its outputs."""
    names = {int(i): str(name) for i, name in (config.id2label or {}).items()}
    return [names[i] for i in range(len(names))]


def classified(logits: NDArray[np.float32], config: PreTrainedConfig, top_k: int = 0) -> Row:
    """``label, score, scores`` of one example from its logits (labels,).

    ``scores`` holds the ``top_k`` best, all where 0. A regression has no label: its score is the number itself.
    """
    kind = problem_type(config)
    if kind == "regression" or config.num_labels == 1:
        values = logits if kind == "regression" else sigmoid(logits)
    else:
        values = sigmoid(logits) if kind == "multi_label_classification" else softmax(logits)
    best_first = np.argsort(-values, kind="stable")
    names = label_names(config)
    scores = [{"label": names[int(i)], "score": float(values[i])} for i in best_first[: top_k or None]]
    if kind == "regression":
        return {"label": None, "score": float(values[0]), "scores": scores}
    return {"label": scores[0]["label"], "score": scores[0]["score"], "scores": scores}
