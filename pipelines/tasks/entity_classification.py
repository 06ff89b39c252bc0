"""Classifying an entity in a text, or the relation of two, by the marks around them (entity typing, relations)."""

from __future__ import annotations

from typing import ClassVar

from pipelines.tasks.entity_inputs import EntityTask, text_with_spans
from pipelines.tasks.text_classification import TextClassification
from stages.base import Row
from stages.examples import Example


class EntityClassification(EntityTask, TextClassification):
    """One label, several labels or a number for one entity of a text."""

    name = "entity-classification"
    summary = "one label, several labels or a number for an entity in a text, as in entity typing"
    reads = ("text", "entity_spans")
    optional: ClassVar[tuple[str, ...]] = ()
    auto_class = "LukeForEntityClassification"
    entity_count: ClassVar[int] = 1

    def encode(self, row: Row) -> list[Example]:
        """One example: the text with marks around its entities, which the model sees as masked."""
        text, spans = text_with_spans(row, self.entity_count)
        return [self.entity_example(text, spans, self.masks[: self.entity_count], marked=True)]


class EntityPairClassification(EntityClassification):
    """The relation of two entities of a text: the first to the second."""

    name = "entity-pair-classification"
    summary = "the relation of two entities in a text"
    auto_class = "LukeForEntityPairClassification"
    entity_count = 2
