"""LayoutLMv2: an encoder of words, where they stand, and what the page looks like (Xu et al. 2020,
https://arxiv.org/abs/2012.14740), with relative and spatial attention. Loads LayoutXLM's checkpoints too.

    from pipelines.layoutlmv2 import LayoutLMv2ForTokenClassification

gives the model without the family: the classes of transformers under their names, without detectron2.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.family import Family
from pipelines.layoutlmv2.settings import LIGHT
from pipelines.tasks.document_classification import DocumentClassification
from pipelines.tasks.document_question_answering import DocumentQuestionAnswering
from pipelines.tasks.looking import LookingTask
from pipelines.tasks.page_features import PageFeatures
from pipelines.tasks.tiny import vocabulary, write_model, write_tokenizer
from pipelines.tasks.token_classification import PageTokenClassification

if TYPE_CHECKING:
    from pipelines.family import Batch
    from pipelines.layoutlmv2.heads import (
        LayoutLMv2ForQuestionAnswering,
        LayoutLMv2ForSequenceClassification,
        LayoutLMv2ForTokenClassification,
    )
    from pipelines.layoutlmv2.model import LayoutLMv2Model

__all__ = [
    "FAMILY",
    "LIGHT",
    "LayoutLMv2ForQuestionAnswering",
    "LayoutLMv2ForSequenceClassification",
    "LayoutLMv2ForTokenClassification",
    "LayoutLMv2Model",
    "tiny",
]

_HEADS, _MODEL = "pipelines.layoutlmv2.heads", "pipelines.layoutlmv2.model"


def __getattr__(name: str) -> object:
    """The model classes, loaded when they are asked for: they import torch."""
    if not name.startswith("LayoutLMv2"):
        raise AttributeError(f"module {__name__} has no {name}")
    return getattr(importlib.import_module(_MODEL if name == "LayoutLMv2Model" else _HEADS), name)


class _Task(LookingTask):
    """What all tasks of the family share."""

    def unused_weights(self) -> tuple[str, ...]:
        """The pyramid's coarse outputs and, under a head, the pooler."""
        pooler = (r"(.*\.)?pooler\.",) if self.auto_class.startswith(_HEADS) else ()
        return (*super().unused_weights(), r"(.*\.)?visual\.backbone\.fpn_output[345]\.", *pooler)


class LookingFeatures(_Task, PageFeatures):
    """The last hidden states of the words, which the page's image and layout have part in, pooled."""

    auto_class = f"{_MODEL}.LayoutLMv2Model"

    def run(self, batch: Batch) -> Any:  # noqa: ANN401  a ModelOutput
        """The model's output without the visual tokens."""
        outputs = super().run(batch)
        outputs.last_hidden_state = outputs.last_hidden_state[:, : -self.visual_tokens]
        return outputs


class LookingClassification(_Task, DocumentClassification):
    """Classifies pages by words, layout and image; a document's label is that of its surest page."""

    auto_class = f"{_HEADS}.LayoutLMv2ForSequenceClassification"


class LookingTokenClassification(_Task, PageTokenClassification):
    """Labels the words of a page by words, layout and image, and joins them to entities."""

    auto_class = f"{_HEADS}.LayoutLMv2ForTokenClassification"


class LookingQuestionAnswering(_Task, DocumentQuestionAnswering):
    """Answers questions with words of the page, which it sees; over a document's pages the surest answer counts."""

    auto_class = f"{_HEADS}.LayoutLMv2ForQuestionAnswering"


TINY_LABELS = {
    "document-classification": ("invoice", "letter", "receipt"),
    "token-classification": ("O", "B-COMPANY", "I-COMPANY", "B-TOTAL", "I-TOTAL"),
}


def tiny(folder: Path, task: str) -> None:
    """A LayoutLMv2 of two layers, 32 wide, that takes 64 tokens and sees through a light backbone."""
    from transformers import LayoutLMv2Config

    write_tokenizer(folder, max_length=64, tokenizer_class="LayoutLMv2Tokenizer")
    names = TINY_LABELS.get(task, ("LABEL_0", "LABEL_1"))
    config = LayoutLMv2Config(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        max_2d_position_embeddings=1024,
        coordinate_size=6,
        shape_size=4,
        initializer_range=0.3,
        image_feature_pool_shape=[7, 7, 32],
        detectron2_config_args=dict(LIGHT),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    classes = {each.name: each.auto_class for each in FAMILY.tasks if issubclass(each, LookingTask)}
    write_model(folder, classes[task], config)


FAMILY = Family(
    summary="encoder of scanned pages: what stands on a page, where, and what it looks like",
    tasks=(
        LookingFeatures,
        LookingClassification,
        LookingTokenClassification,
        LookingQuestionAnswering,
    ),
    checkpoints={"": "microsoft/layoutlmv2-base-uncased@ae6f4350c668f88ec580046e35c670df6ec616c1"},
    licence="CC-BY-NC-SA-4.0",
    tiny=tiny,
    notice="the published weights are licensed CC BY-NC-SA 4.0: not for commercial use",
    model_types=("layoutlmv2",),
)
