"""What tasks with a tower for images and one for texts share. A text is encoded once a process, however often it comes:
labels to choose from are the same for thousands of images.

Shape suffixes: B images or texts of a batch, L tokens of the longest text, T texts of a row, P numbers of a vector.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.family import Batch, Checkpoint, Options
from pipelines.tasks.loading import load_tokenizer
from pipelines.tasks.padding import attention_mask, pad
from pipelines.tasks.seeing import SeeingTask
from stages.base import Row
from stages.errors import Code, RowError, UsageError
from stages.examples import Example

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

    Ids = NDArray[np.int32]

KEPT = 4096
"""Texts whose tokens and vectors are kept; 4 kB each at 1024 numbers."""


class DualTask(SeeingTask):
    """A task on images and texts."""

    auto_class = "AutoModel"
    tokenizer: PreTrainedTokenizerFast
    limit: int
    """Most tokens of a text."""

    def __init__(self, checkpoint: Checkpoint, options: Options | None = None) -> None:
        super().__init__(checkpoint, options)
        self._known: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._tokens: OrderedDict[str, Ids] = OrderedDict()

    def load_processor(self) -> None:
        """Loads the image processor and the tokenizer."""
        super().load_processor()
        self.tokenizer = load_tokenizer(self.checkpoint)
        own: Any = self.config
        self.limit = min(self.tokenizer.model_max_length, own.text_config.max_position_embeddings)

    def towers(self) -> Any:  # noqa: ANN401  the part of the model with get_image_features and get_text_features
        """The part of the model that holds both towers."""
        return self.model

    def tokenise(self, text: str) -> Ids:
        """The tokens of a text, cut at the limit."""
        ids = self._tokens.get(text)
        if ids is None:
            encoding = self.tokenizer(text, truncation=True, max_length=self.limit, verbose=False)
            ids = self._tokens[text] = np.asarray(encoding["input_ids"], np.int32)
            if len(self._tokens) > KEPT:
                self._tokens.popitem(last=False)
        return ids

    def text_batch(self, examples: Sequence[Example]) -> Batch:
        """``input_ids`` and ``attention_mask`` (B, L) of examples that are texts."""
        pad_id = self.tokenizer.pad_token_id or 0
        return {**pad(examples, ["input_ids"], {"input_ids": pad_id}), "attention_mask": attention_mask(examples)}

    def image_vectors(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, Y, X) to vectors (B, P), float32."""
        vectors: torch.Tensor = self.towers().get_image_features(self.as_model(pixel_values)).pooler_output
        return vectors.float()

    def text_vectors(self, texts: Sequence[Ids]) -> torch.Tensor:
        """Texts to vectors (T, P), float32; those that are known are not encoded again."""
        import torch

        keys = [text.tobytes() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if new:
            examples = [Example(arrays={"input_ids": text}, length=len(text)) for text in new.values()]
            batch = {name: each.to(self.model.device) for name, each in self.text_batch(examples).items()}
            made_TP = self.towers().get_text_features(**batch).pooler_output.float()
            self._known.update(zip(new, made_TP, strict=True))
        found_TP = torch.stack([self._known[key] for key in keys])
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found_TP


@dataclass(frozen=True, kw_only=True)
class CandidateOptions(Options):
    """Options of every task that chooses among labels in any words."""

    candidate_labels: tuple[str, ...] = ()
    """labels to choose from, in any words, for all rows that bring none of their own"""
    top_k: int = 0
    """how many answers are given, the best first; 0 gives all"""

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise UsageError(f"task.top_k must be 0 or more, not {self.top_k}")


class CandidatesTask(DualTask):
    """A task that chooses among labels: the row's ``candidate_labels``, or those of the options."""

    optional = ("candidate_labels",)
    options_type = CandidateOptions
    options: CandidateOptions

    def check(self, columns: Collection[str]) -> None:
        """Raises UsageError where there are no labels to choose from."""
        if "candidate_labels" not in columns and not self.options.candidate_labels:
            raise UsageError(
                'no labels to choose from: name them with --set task.candidate_labels=\'["…", "…"]\', '
                "or give a table the column candidate_labels",
            )

    def labels_of(self, row: Row) -> list[str]:
        """The row's labels. Raises RowError(ENCODE_FAILED) where there are none."""
        own = row.get("candidate_labels")
        labels = own if isinstance(own, list) else list(self.options.candidate_labels)
        if not labels or not all(isinstance(label, str) for label in labels):
            raise RowError(Code.ENCODE_FAILED, "the row has no labels to choose from, or one that is null")
        return labels

    def phrase(self, label: str) -> str:
        """What of a label the model reads."""
        return label

    def encode(self, row: Row) -> list[Example]:
        """One example: the picture, and the labels as ``texts`` (tokens of all) with ``text_lengths``."""
        texts = [self.tokenise(self.phrase(label)) for label in self.labels_of(row)]
        arrays = {"texts": np.concatenate(texts), "text_lengths": np.array([len(text) for text in texts], np.int32)}
        one = self.look(row)
        return [replace(one, arrays={**one.arrays, **arrays})]

    def candidates(self, example: Example) -> torch.Tensor:
        """The vectors (T, P) of an example's labels."""
        ends = np.cumsum(example.arrays["text_lengths"])[:-1]
        return self.text_vectors(np.split(example.arrays["texts"].astype(np.int32), ends))
