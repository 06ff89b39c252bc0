"""The settings of training: the ``train.`` keys of a config file and of ``--set``."""

from __future__ import annotations

from dataclasses import dataclass

from stages.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Train:
    """How a model is trained."""

    epochs: float = 3.0
    """passes over the training rows"""
    learning_rate: float = 5e-5
    """highest learning rate; it rises to it, then falls to 0 in a straight line"""
    warmup: float = 0.1
    """share of the steps over which the learning rate rises"""
    weight_decay: float = 0.01
    """decoupled weight decay of AdamW"""
    token_budget: int = 4096
    """most padded tokens of one worker's batch"""
    accumulate: int = 1
    """batches of each worker that make one step"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm; 0 leaves them"""
    seed: int = 0
    """seed of the order of rows, of dropout and of new heads"""

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "token_budget", "accumulate"):
            if not getattr(self, name) > 0:
                raise UsageError(f"train.{name} must be above 0, not {getattr(self, name)!r}")
        for name in ("warmup", "weight_decay", "max_grad_norm", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"train.{name} must be 0 or more, not {getattr(self, name)!r}")
