"""Translation by an encoder-decoder: a text at once, or, where it is long, sentence by sentence.

Transformers 5 has no translation pipeline any more; a text that the model takes at once is translated as its
documented ``generate`` call does. T tokens of a target, B examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import TextOptions, TextTask, text_of
from pipelines.tasks.generating import (
    BATCH_COST,
    GenerationOptions,
    Written,
    beams_of,
    load_generation,
    texts,
    write,
)
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.padding import pad_one
from pipelines.tasks.sentences import Span, fitting, rejoined, sentences
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output
from stages.predictor import row_seed

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class TranslationOptions(TextOptions, GenerationOptions):
    """Options of translation."""

    max_length: int = 0
    """most tokens to translate at once; 0 takes the model's own limit; a longer text is translated by sentences"""
    split_sentences: bool = False
    """translate sentence by sentence even what could be translated at once"""
    source_lang: str = ""
    """language of the texts, as in en; empty takes the checkpoint's own"""
    target_lang: str = ""
    """language to translate to, as in de; empty takes the checkpoint's own"""

    def __post_init__(self) -> None:
        TextOptions.__post_init__(self)
        GenerationOptions.__post_init__(self)


class Translation(TextTask):
    """Translates texts; several translations of each where asked for."""

    name = "translation"
    summary = "a text in another language, with beams or drawn; long texts sentence by sentence"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    gold: ClassVar[tuple[str, ...]] = ("translation",)
    writes = ("translation", "score", "sequences")
    options_type: ClassVar[type[TranslationOptions]] = TranslationOptions
    options: TranslationOptions
    metric = Metric(name="bleu")
    more_metrics = (Metric(name="generation_length"),)
    batch_cost = BATCH_COST
    auto_class = "AutoModelForSeq2SeqLM"
    prefix: str
    """What stands before every text."""
    source_lang: str
    """Language of the texts, for their sentences' ends."""

    def load_processor(self) -> None:
        """Loads tokenizer and configuration. Raises UsageError for languages that the checkpoint lacks."""
        super().load_processor()
        self.beams = beams_of(load_generation(self.checkpoint, self.config, self.options), self.options)
        self.source_lang, self.prefix = self.languages()

    def languages(self) -> tuple[str, str]:
        """The texts' language, and what to write before each text. Raises UsageError for an unknown pair."""
        return self.options.source_lang or "en", ""

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights. The cache of keys and values is for writing alone: FSMT masks no later token with it."""
        super().load_model(device, dtype)
        self.model.config.use_cache = False

    # ---- encoding

    def encode(self, row: Row) -> list[Example]:
        """One example for what is translated at once; ``span`` (2,) are its characters in the text."""
        text = text_of(row)
        return [self._example(row, text, span, number) for number, span in enumerate(self._spans(text))]

    def _spans(self, text: str) -> list[Span]:
        if not self.options.split_sentences and self._size(text) <= self.limit:
            return [(0, len(text))]
        found = sentences(text, self.source_lang)
        parts = [part for span in found for part in fitting(text, span, self._size, self.limit)]
        return parts or [(0, len(text))]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenise(self.prefix + text, cut=False)["input_ids"]
        return ids

    def _size(self, text: str) -> int:
        return len(self._ids(text))

    def _example(self, row: Row, text: str, span: Span, number: int) -> Example:
        ids = np.array(self._ids(text[span[0] : span[1]]), np.int32)
        seed = np.array([(row_seed(row, self.options.seed) + number) % 2**63], np.int64)
        written = len(ids) * self.beams  # a translation is about as long as its text
        return Example(
            arrays={"input_ids": ids, "span": np.array(span, np.int32), "seed": seed}, length=len(ids), extra=written
        )

    # ---- the model half

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """The texts written for each example (see ``generating.write``)."""
        return write(self.model, batch, self.options, [int(one.arrays["seed"][0]) for one in examples])

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``translation`` and ``score``, and all ``sequences`` where several were asked for; sentences rejoined."""
        spans = [(int(one.arrays["span"][0]), int(one.arrays["span"][1])) for one in examples]
        ranked = zip(*(texts(output, self.tokenizer) for output in outputs), strict=True)
        found = [_joined(text_of(row), spans, parts) for parts in ranked]
        several = found if self.options.num_return_sequences > 1 else None
        return {"translation": found[0]["text"], "score": found[0]["score"], "sequences": several}

    # ---- training

    def target_ids(self, text: str) -> list[int]:
        """The tokens of a translation."""
        ids: list[int] = self.tokenizer(text_target=text, verbose=False)["input_ids"]
        return ids

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (T,): the translation's tokens. Raises RowError where text or translation are too long."""
        labels = np.array(self.target_ids(text_of(row, "translation")), np.int32)
        if len(examples) > 1 or len(labels) > self.limit:
            what = "translation" if len(examples) == 1 else "text"
            message = f"the {what} has more than the {self.limit} tokens that can be trained at once: cut the pair"
            raise RowError(Code.ENCODE_FAILED, message)
        arrays = {"input_ids": examples[0].arrays["input_ids"], "labels": labels}
        return [Example(arrays=arrays, length=examples[0].length, extra=len(labels))]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors; in training ``decoder_input_ids`` too: the labels, one place later."""
        batch = super().collate(examples)
        if "labels" not in batch:
            return batch
        start = np.array([self.model.config.decoder_start_token_id], np.int32)
        before = [np.concatenate([start, one.arrays["labels"][:-1]]) for one in examples]
        return {**batch, "decoder_input_ids": pad_one(before, self.pad_id)}

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy summed over the translations' tokens, over ``num_items``."""
        return cross_entropy(outputs.logits, labels, num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``bleu`` (sacrebleu's, 0 to 100) and ``generation_length``, the mean tokens of a translation."""
        import sacrebleu

        ours = [str(row["translation"]) for row in answers]
        bleu = sacrebleu.corpus_bleu(ours, [[text_of(row, "translation") for row in gold]])
        return {
            "bleu": float(bleu.score),
            "generation_length": float(np.mean([len(self.target_ids(one)) for one in ours])),
        }


def _joined(text: str, spans: list[Span], parts: Sequence[Written]) -> Row:
    whole = Written(
        text=rejoined(text, spans, [one.text for one in parts]),
        log_likelihood=sum(one.log_likelihood for one in parts),
        tokens=sum(one.tokens for one in parts),
    )
    return {"text": whole.text, "score": whole.score}
