"""What every task on texts shares: tokenise a text or a pair, collate with padding, run the model.

L tokens of the longest example of a batch, B examples, H hidden size, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Checkpoint, Options, Task
from pipelines.tasks.loading import load_config, load_tokenizer, load_weights, most_tokens
from pipelines.tasks.padding import IGNORED, attention_mask, pad
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import BatchEncoding, PreTrainedConfig, PreTrainedTokenizerFast

INPUTS = ("input_ids", "token_type_ids")
"""Arrays of an example that the model sees; what else an example holds is for ``forward`` and ``decode``."""

DTYPES: Mapping[str, type[np.generic]] = {"token_type_ids": np.int8}
"""The smallest type for each model input; int32 for the others."""


@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """Options of every task on texts."""

    max_length: int = 0
    """longest input in tokens, special ones included; 0 takes the model's own limit; a longer text is cut there"""

    def __post_init__(self) -> None:
        if self.max_length < 0:
            raise UsageError(f"task.max_length must be 0 or more, not {self.max_length}")


class TextTask(Task):
    """A task on ``text`` (and ``text_pair``) with an encoder's tokenizer; one example a row, cut at the limit.

    A subclass names ``auto_class`` and writes ``encode``, ``forward`` and ``decode`` with the parts below.
    """

    auto_class: ClassVar[str]
    """The class that loads the model: of transformers, ``AutoModelForSequenceClassification``, or, with its module, one
    of our own."""
    fast_tokenizer: ClassVar[bool] = True
    """False for an architecture whose tokenizer is in Python alone."""
    options_type = TextOptions
    options: TextOptions
    tokenizer: PreTrainedTokenizerFast
    config: PreTrainedConfig
    pad_id: int
    limit: int
    """Most tokens of an example, special ones included."""

    def __init__(self, checkpoint: Checkpoint, options: Options | None = None) -> None:
        super().__init__(checkpoint, options)
        self.pad_id = 0

    # ---- loading

    def unused_weights(self) -> tuple[str, ...]:
        """Patterns of weights that the task does not look at, which a checkpoint may lack."""
        return ()

    def config_changes(self) -> Mapping[str, object]:
        """Values that replace those of the checkpoint's config.json."""
        return {}

    def load_processor(self) -> None:
        """Loads the tokenizer and the configuration. Raises UsageError for a ``max_length`` beyond the model's."""
        self.tokenizer = load_tokenizer(self.checkpoint, fast=self.fast_tokenizer)
        self.config = load_config(self.checkpoint)
        known = (self.tokenizer.model_max_length, most_tokens(self.config))
        own = min(size for size in known if size)
        if self.options.max_length > own:
            raise UsageError(f"task.max_length {self.options.max_length} is more than the {own} tokens of the model")
        self.limit = self.options.max_length or own

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights; on the device ``meta`` only their names, which tells whether the checkpoint has them."""
        self.model = load_weights(
            self.checkpoint,
            self.auto_class,
            device=device,
            dtype=dtype,
            unused=self.unused_weights(),
            allow_random_head=self.options.allow_random_head,
            config=self.config_changes(),
        )
        self.pad_id = self.model.config.pad_token_id or 0

    # ---- encoding

    def tokenise(self, text: str, pair: str | None = None, *, cut: bool = True) -> BatchEncoding[Any]:
        """A text, or a pair of which the longer part is cut first, with the special tokens around it."""
        how = {"truncation": True, "max_length": self.limit} if cut else {}
        encoding: BatchEncoding[Any] = self.tokenizer(text, pair, verbose=False, **how)
        return encoding

    def example(self, encoding: BatchEncoding[Any], more: Mapping[str, NDArray[np.generic]] | None = None) -> Example:
        """What the tokenizer gave as one example; the arrays ``more`` are added."""
        arrays = {
            name: np.asarray(encoding[name], DTYPES.get(name, np.int32))
            for name in self.tokenizer.model_input_names
            if name in encoding and name != "attention_mask"
        }
        return Example(arrays={**arrays, **(more or {})}, length=len(arrays["input_ids"]))

    # ---- the model half

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded (B, L) tensors of ``INPUTS`` with their attention mask, and ``labels`` where there are any."""
        values = {"input_ids": self.pad_id, "labels": IGNORED}
        there = [name for name in (*INPUTS, "labels") if name in examples[0].arrays]
        return {**pad(examples, there, values), "attention_mask": attention_mask(examples)}

    def run(self, batch: Batch) -> Any:  # noqa: ANN401  a ModelOutput; its fields differ by head
        """The model's output for what of the batch is input; labels are left out."""
        return self.model(**{name: tensor for name, tensor in batch.items() if name != "labels"})


def text_of(row: Row, column: str = "text") -> str:
    """The row's text in ``column``. Raises RowError(ENCODE_FAILED) where it has none."""
    text = row.get(column)
    if not isinstance(text, str):
        what = "no value" if text is None else f"a {type(text).__name__}"
        raise RowError(Code.ENCODE_FAILED, f"column {column!r} holds {what}; the task needs a text")
    return text


def pair_of(row: Row) -> str | None:
    """The row's ``text_pair``, where it has one."""
    return None if row.get("text_pair") is None else text_of(row, "text_pair")


def unbatch(tensors: Mapping[str, torch.Tensor]) -> list[Output]:
    """Tensors whose first axis is the batch to one output an example, on the CPU; floats as float32."""
    floats = {name: each.float() if each.is_floating_point() else each for name, each in tensors.items()}
    arrays = {name: each.cpu().numpy() for name, each in floats.items()}
    return [{name: array[i] for name, array in arrays.items()} for i in range(len(next(iter(arrays.values()))))]
