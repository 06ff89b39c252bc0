"""LayoutLM: an encoder of words and where they stand on the page (Xu et al. 2019, https://arxiv.org/abs/1912.13318)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.document_classification import DocumentClassification
from pipelines.tasks.document_question_answering import DocumentQuestionAnswering
from pipelines.tasks.page_features import PageFeatures
from pipelines.tasks.page_masked_lm import PageMaskedLM
from pipelines.tasks.tiny import vocabulary, write_model, write_tokenizer
from pipelines.tasks.token_classification import PageTokenClassification

TINY_CLASSES = {
    "features": "LayoutLMModel",
    "masked-lm": "LayoutLMForMaskedLM",
    "document-classification": "LayoutLMForSequenceClassification",
    "token-classification": "LayoutLMForTokenClassification",
    "document-question-answering": "LayoutLMForQuestionAnswering",
}
TINY_LABELS = {
    "document-classification": ("invoice", "letter", "receipt"),
    "token-classification": ("O", "B-COMPANY", "I-COMPANY", "B-TOTAL", "I-TOTAL"),
}


def tiny(folder: Path, task: str) -> None:
    """A LayoutLM of two layers, 32 wide, that takes 64 tokens."""
    from transformers import LayoutLMConfig

    write_tokenizer(folder, max_length=64)
    names = TINY_LABELS.get(task, ("LABEL_0", "LABEL_1"))
    config = LayoutLMConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        max_2d_position_embeddings=1024,
        initializer_range=0.3,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    write_model(folder, TINY_CLASSES[task], config)


FAMILY = Family(
    summary="encoder of scanned English pages: what stands on a page, and where",
    tasks=(
        PageFeatures,
        PageMaskedLM,
        DocumentClassification,
        PageTokenClassification,
        DocumentQuestionAnswering,
    ),
    checkpoints={
        "": "microsoft/layoutlm-base-uncased@30e3cdd39c11f09757b0fcf7598533d05052acef",
        "document-question-answering": "impira/layoutlm-document-qa@beed3c4d02d86017ebca5bd0fdf210046b907aa6",
    },
    licence="MIT",
    tiny=tiny,
    model_types=("layoutlm",),
)
