"""The settings of training: the ``train.`` and ``augment.`` keys of a config file and of ``--set``.

Patterns are regular expressions that are searched in the names of the model's parameters; ``head`` stands for all that
lie outside of the pretrained body.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Literal

from stages.bounds import check_numbers
from stages.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["linear", "cosine", "constant"]

_ABOVE_0 = ("epochs", "learning_rate", "token_budget", "accumulate", "wait_s")
_FROM_0 = (
    "max_steps",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "evaluate_steps",
    "patience",
    "checkpoint_steps",
    "restarts",
    "min_workers",
    "seed",
)
_SHARES = ("left_out", "eval_share")


@dataclass(frozen=True, kw_only=True)
class Train:
    """How a model is trained."""

    epochs: float = 3.0
    """passes over the training rows"""
    max_steps: int = 0
    """steps after which training ends, whatever the epochs; 0: the epochs decide"""
    learning_rate: float = 5e-5
    """highest learning rate"""
    schedule: Schedule = "linear"
    """how the learning rate goes on after the warm-up: down to 0 in a straight line or a cosine, or constant"""
    warmup: float = 0.1
    """share of the steps over which the learning rate rises from 0; from 1 on, a number of steps"""
    rates: dict[str, float] = field(default_factory=dict)
    """learning rates by parameter, as factors by pattern: {"head": 10, "[xyhw]_position": 0.1}; the last fitting"""
    frozen: tuple[str, ...] = ()
    """patterns of parameters that are not trained, such as ["embeddings", "layer\\\\.[0-3]\\\\."]"""
    batch_norm: Literal["synchronised", "frozen"] = "synchronised"
    """norms over the examples of all workers, trained; or as the checkpoint has them"""
    weight_decay: float = 0.01
    """decoupled weight decay of AdamW; biases and norms have none"""
    token_budget: int = 4096
    """most padded tokens of one worker's batch, which holds rows of like length"""
    accumulate: int = 1
    """batches of each worker that make one step"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm; 0 leaves them"""
    precision: Precision = "auto"
    """number format of products; auto takes bfloat16 or float16 where the GPU computes in it natively, else float32"""
    gradient_checkpointing: bool = False
    """computes activations twice instead of keeping them: less memory, about a third more time"""
    fsdp: bool = False
    """shards weights, gradients and the optimizer's state over the workers (FSDP2), for models that fill a GPU"""
    eval_share: float = 0.0
    """share of the training rows that is kept out of it, to judge the model by, where --eval-data names no others"""
    eval_group: str = ""
    """column whose equal values keep rows on one side of that split, such as the film that clips were cut from"""
    evaluate_steps: int = 0
    """steps between evaluations on --eval-data; 0: one after each epoch"""
    metric: str = ""
    """the metric that chooses the best model; empty takes the task's own"""
    patience: int = 0
    """evaluations in a row without a better metric after which training stops; 0: never"""
    checkpoint_steps: int = 0
    """steps between checkpoints, from which training goes on after a fault; 0: one after each epoch"""
    restarts: int = 3
    """how often the workers are started anew, from the last checkpoint, after one has died"""
    min_workers: int = 0
    """fewest workers that go on where the cluster has lost some; 0: as many as --workers; a step stays the same"""
    wait_s: float = 300.0
    """longest time to wait for a cluster to have room for the workers, in seconds"""
    left_out: float = 0.0
    """largest share of training rows that may be left out because they cannot be encoded, between 0 and 1"""
    seed: int = 0
    """seed of the order of rows, of what is drawn anew each epoch, of dropout and of new heads"""

    def __post_init__(self) -> None:
        check_numbers("train", self, above_0=_ABOVE_0, from_0=_FROM_0, shares=_SHARES)
        if self.eval_group and not self.eval_share:
            raise UsageError("train.eval_group divides the rows that train.eval_share keeps out: set that too")
        for pattern in (*self.rates, *self.frozen):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"train: the pattern {pattern!r} is no regular expression: {error}") from error
        for pattern, factor in self.rates.items():
            if factor < 0:
                raise UsageError(f"train.rates: the factor of {pattern!r} must be 0 or more, not {factor}")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What training changes at random in each row, anew in each epoch. Boxes are in thousandths of the page."""

    box_jitter: float = 0.0
    """each side of a word's box moves by up to this many thousandths of the page"""
    page_shift: float = 0.0
    """all boxes of a page move together by up to this many thousandths, along each axis"""
    page_scale: float = 0.0
    """all boxes of a page grow or shrink together by up to this share, along each axis: 0.1 is a tenth"""
    word_dropout: float = 0.0
    """share of the tokens that are hidden behind the mask or unknown token; labels stay; between 0 and 1"""
    image_crop: float = 0.0
    """up to this share of both sides of a picture or a clip is cut away, anywhere, and the rest scaled up"""
    image_flip: float = 0.0
    """how often pictures and clips are mirrored left to right: 0.5 is every other time"""

    def __post_init__(self) -> None:
        check_numbers(
            "augment",
            self,
            from_0=("box_jitter", "page_shift"),
            shares=("page_scale", "word_dropout", "image_crop", "image_flip"),
        )

    @property
    def any(self) -> bool:
        """Whether anything is changed."""
        return any(asdict(self).values())
