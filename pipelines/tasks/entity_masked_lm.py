"""Masked language modelling over words and entities: what may stand at a mask, and which entity is meant.

E masked entities of a batch, K fills for each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import text_of
from pipelines.tasks.entity_inputs import EntityTask, read_spans, text_with_spans
from pipelines.tasks.masked_lm import MaskedLM
from pipelines.tasks.masking import logits_at
from pipelines.tasks.words import Ints
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output


class EntityMaskedLM(EntityTask, MaskedLM):
    """Fills masks in a text, and names entities given as [MASK]."""

    summary = "the most probable fills for each mask, and titles for each masked entity in a text"
    optional: ClassVar[tuple[str, ...]] = ("entity_spans", "entity_names")
    writes = ("fills", "entity_fills")
    metric: ClassVar[Metric | None] = None

    def load_processor(self) -> None:
        """Loads tokenizer, configuration and both vocabularies."""
        super().load_processor()
        self.titles = {number: title for title, number in self.entities.items()}

    def encode(self, row: Row) -> list[Example]:
        """One example; ``masks`` are the positions of its masks, ``entity_masks`` which of its entities are masked."""
        text, spans = text_with_spans(row)
        numbers = self.entity_numbers(row, len(spans)) if spans else []
        one = self.entity_example(text, spans, numbers)
        masks = self.masked_example({"input_ids": one.arrays["input_ids"]}, text).arrays  # type: ignore[arg-type]
        hidden = np.flatnonzero(np.array(numbers, np.int32) == self.masks[0]).astype(np.int32)
        more = {"masks": masks["masks"], "targets": masks["targets"], "entity_masks": hidden}
        return [replace(one, arrays={**one.arrays, **more})]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``tokens`` and ``scores`` (masks, K); ``entity_tokens`` and ``entity_scores`` (masked entities, K)."""
        head = self.model.entity_predictions
        with_entities = "entity_ids" in batch
        entities = logits_at(self.model, examples, places="entity_masks", head=head)  # type: ignore[arg-type]
        with logits_at(self.model, examples), entities if with_entities else contextlib.nullcontext():
            outputs = self.run(batch)
        found = self.best(outputs.logits, examples)
        if not with_entities:
            return found
        shares_EV = outputs.entity_logits.float().softmax(-1)
        scores_EK, tokens_EK = shares_EV.topk(min(self.options.top_k, shares_EV.shape[-1]))
        ends = np.cumsum([len(one.arrays["entity_masks"]) for one in examples])[:-1]
        pairs = zip(np.split(scores_EK.cpu().numpy(), ends), np.split(tokens_EK.cpu().numpy(), ends), strict=True)
        more = [{"entity_scores": scores, "entity_tokens": tokens} for scores, tokens in pairs]
        return [{**one, **two} for one, two in zip(found, more, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``fills`` a mask and ``entity_fills`` a masked entity, whose ``text`` is its mention."""
        masks, hidden = examples[0].arrays["masks"], np.asarray(examples[0].arrays["entity_masks"], np.int32)
        if not len(masks) and not len(hidden):
            mask = self.tokenizer.mask_token
            raise RowError(Code.ENCODE_FAILED, f"the text holds no mask and no masked entity; write {mask} into it")
        return {"fills": self.fills(examples[0], outputs[0]), "entity_fills": self._titles(row, hidden, outputs[0])}

    def _titles(self, row: Row, hidden: Ints, output: Output) -> list[list[Row]] | None:
        if "entity_tokens" not in output:
            return None
        text = text_of(row)
        spans = read_spans(row, text)
        return [
            [
                {"token": self.titles[int(token)], "score": float(score), "text": text[slice(*spans[entity])]}
                for token, score in zip(tokens, scores, strict=True)
            ]
            for entity, tokens, scores in zip(
                hidden.tolist(), output["entity_tokens"], output["entity_scores"], strict=True
            )
        ]
