"""LUKE: an encoder of words and of the entities among them (Yamada et al. 2020, https://arxiv.org/abs/2010.01057)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.entity_classification import EntityClassification, EntityPairClassification
from pipelines.tasks.entity_features import EntityFeatures
from pipelines.tasks.entity_masked_lm import EntityMaskedLM
from pipelines.tasks.entity_span_classification import EntitySpanClassification
from pipelines.tasks.multiple_choice import MultipleChoice
from pipelines.tasks.question_answering import QuestionAnswering
from pipelines.tasks.text_classification import TextClassification
from pipelines.tasks.tiny import write_bpe_tokenizer, write_model
from pipelines.tasks.token_classification import TokenClassification

TINY_CLASSES = {
    "features": "LukeModel",
    "masked-lm": "LukeForMaskedLM",
    "entity-classification": "LukeForEntityClassification",
    "entity-pair-classification": "LukeForEntityPairClassification",
    "entity-span-classification": "LukeForEntitySpanClassification",
    "text-classification": "LukeForSequenceClassification",
    "token-classification": "LukeForTokenClassification",
    "question-answering": "LukeForQuestionAnswering",
    "multiple-choice": "LukeForMultipleChoice",
}
TINY_LABELS = {
    "entity-classification": ("person", "place", "organization"),
    "entity-pair-classification": ("no_relation", "lives_in", "born_in"),
    "entity-span-classification": ("NIL", "PER", "LOC"),
    "text-classification": ("negative", "neutral", "positive"),
    "token-classification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
}
TINY_ENTITIES = ("[PAD]", "[UNK]", "[MASK]", "[MASK2]", "Paris", "London", "Berlin", "England", "France", "River")


def tiny(folder: Path, task: str) -> None:
    """A LUKE of two layers, 32 wide, that takes 64 tokens and knows six entities."""
    from transformers import LukeConfig

    entities = {title: number for number, title in enumerate(TINY_ENTITIES)}
    pieces = write_bpe_tokenizer(folder, max_length=64, tokenizer_class="LukeTokenizer", entity_vocab=entities)
    names = TINY_LABELS.get(task, ("LABEL_0", "LABEL_1"))
    config = LukeConfig(
        vocab_size=pieces,
        entity_vocab_size=len(entities),
        hidden_size=32,
        entity_emb_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        initializer_range=0.3,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    write_model(folder, TINY_CLASSES[task], config)


FAMILY = Family(
    summary="encoder of English text and of the entities in it: typing, relations, named entities",
    tasks=(
        EntityFeatures,
        EntityMaskedLM,
        EntityClassification,
        EntityPairClassification,
        EntitySpanClassification,
        TextClassification,
        TokenClassification,
        QuestionAnswering,
        MultipleChoice,
    ),
    checkpoints={
        "": "studio-ousia/luke-base@main",
        "entity-classification": "studio-ousia/luke-large-finetuned-open-entity@main",
        "entity-pair-classification": "studio-ousia/luke-large-finetuned-tacred@main",
        "entity-span-classification": "studio-ousia/luke-large-finetuned-conll-2003@main",
    },
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("luke",),
)
