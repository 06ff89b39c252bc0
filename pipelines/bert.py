"""BERT: an encoder of text, read in both directions (Devlin et al. 2018, https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.causal_lm import CausalLM
from pipelines.tasks.features import Features
from pipelines.tasks.masked_lm import MaskedLM
from pipelines.tasks.multiple_choice import MultipleChoice
from pipelines.tasks.next_sentence import NextSentence
from pipelines.tasks.pretraining import Pretraining
from pipelines.tasks.question_answering import QuestionAnswering
from pipelines.tasks.text_classification import TextClassification
from pipelines.tasks.tiny import vocabulary, write_model, write_tokenizer
from pipelines.tasks.token_classification import TokenClassification

TINY_CLASSES = {
    "features": "BertModel",
    "masked-lm": "BertForMaskedLM",
    "next-sentence": "BertForNextSentencePrediction",
    "pretraining": "BertForPreTraining",
    "causal-lm": "BertLMHeadModel",
    "text-classification": "BertForSequenceClassification",
    "multiple-choice": "BertForMultipleChoice",
    "token-classification": "BertForTokenClassification",
    "question-answering": "BertForQuestionAnswering",
}
TINY_LABELS = {
    "text-classification": ("negative", "neutral", "positive"),
    "token-classification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
}

TINY_SEEDS = {"token-classification": 3}
"""Where the first seed gives every word the same label, one that does not: a test of such answers could not fail."""


def tiny(folder: Path, task: str) -> None:
    """A BERT of two layers, 32 wide, that takes 64 tokens."""
    from transformers import BertConfig

    write_tokenizer(folder, max_length=64)
    names = TINY_LABELS.get(task, ("LABEL_0", "LABEL_1"))
    config = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        is_decoder=task == "causal-lm",
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    write_model(folder, TINY_CLASSES[task], config, seed=TINY_SEEDS.get(task, 0))


FAMILY = Family(
    summary="encoder of English text, for answers about a text, its words, or what is missing in it",
    tasks=(
        Features,
        MaskedLM,
        NextSentence,
        Pretraining,
        CausalLM,
        TextClassification,
        MultipleChoice,
        TokenClassification,
        QuestionAnswering,
    ),
    checkpoints={"": "google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("bert",),
)
