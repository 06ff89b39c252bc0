"""Features of a text and of the entities in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.entity_inputs import EntityTask, text_with_spans
from pipelines.tasks.features import Features
from stages.base import Row
from stages.examples import Example, Output


class EntityFeatures(EntityTask, Features):
    """The text's vector, and one for each entity: a masked one, or the one that is named, in its context."""

    summary = "a text as a vector, and one an entity in it"
    optional: ClassVar[tuple[str, ...]] = ("entity_spans", "entity_names")
    writes = ("vector", "vectors", "entity_vectors")

    def encode(self, row: Row) -> list[Example]:
        """One example: the text, cut at the limit, with its entities."""
        text, spans = text_with_spans(row)
        return [self.entity_example(text, spans, self.entity_numbers(row, len(spans)) if spans else [])]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``vector``, ``vectors`` where asked for, and ``entity_vectors`` (E, H) of each example."""
        outputs = self.run(batch)
        found = self.pooled(outputs, batch, examples)
        if outputs.entity_last_hidden_state is None:
            return found
        vectors = outputs.entity_last_hidden_state.float().cpu().numpy()
        counts = [len(one.arrays["entity_ids"]) for one in examples]
        return [
            {**each, "entity_vectors": vectors[n, :count]}
            for n, (each, count) in enumerate(zip(found, counts, strict=True))
        ]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``vector``, ``vectors`` or null, and ``entity_vectors``, null where the row has no entities."""
        entities = outputs[0].get("entity_vectors")
        told = None if entities is None else np.asarray(entities).tolist()
        return {**super().decode(row, examples, outputs), "entity_vectors": told}
