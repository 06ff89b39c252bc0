"""REALM: questions answered from blocks of text that a learned retriever finds (Guu et al. 2020,
https://arxiv.org/abs/2002.08909).

    from pipelines.realm import RealmForOpenQA, RealmRetriever

gives the models without the family. Once this package is imported, transformers' Auto classes know ``realm``.
"""

from __future__ import annotations

import importlib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.family import Checkpoint, Family
from pipelines.realm.evidence import EvidenceMaskedLM, Relevance
from pipelines.realm.open_qa import OpenQuestionAnswering
from pipelines.realm.tasks import Features, Index, Search
from pipelines.registering import register
from pipelines.tasks.base_text import TextTask
from pipelines.tasks.dense_index import index_texts
from pipelines.tasks.tiny import WORDS, vocabulary, write_model, write_tokenizer

if TYPE_CHECKING:
    from pipelines.realm.model import RealmEmbedder, RealmKnowledgeAugEncoder, RealmScorer
    from pipelines.realm.reader import RealmForOpenQA, RealmReader
    from pipelines.realm.retriever import RealmRetriever
    from pipelines.realm.settings import RealmConfig, RealmTokenizer, RealmTokenizerFast

__all__ = [
    "FAMILY",
    "RealmConfig",
    "RealmEmbedder",
    "RealmForOpenQA",
    "RealmKnowledgeAugEncoder",
    "RealmReader",
    "RealmRetriever",
    "RealmScorer",
    "RealmTokenizer",
    "RealmTokenizerFast",
    "tiny",
]

_HOME = {
    "RealmEmbedder": "model",
    "RealmKnowledgeAugEncoder": "model",
    "RealmScorer": "model",
    "RealmForOpenQA": "reader",
    "RealmReader": "reader",
    "RealmRetriever": "retriever",
}

register(
    "realm",
    config="pipelines.realm.settings.RealmConfig",
    tokenizer="pipelines.realm.settings.RealmTokenizer",
    models={
        "AutoModel": "pipelines.realm.model.RealmEmbedder",
        "AutoModelForMaskedLM": "pipelines.realm.model.RealmKnowledgeAugEncoder",
    },
)


def __getattr__(name: str) -> object:
    """The classes, loaded when they are asked for: they import torch."""
    if not name.startswith("Realm"):
        raise AttributeError(f"module {__name__} has no {name}")
    return getattr(importlib.import_module(f"pipelines.realm.{_HOME.get(name, 'settings')}"), name)


TINY_BLOCKS = [f"the {word} of {other} is nothing" for word, other in pairwise(WORDS[-60:])]


def tiny(folder: Path, task: str) -> None:
    """Two layers, 32 wide, 64 tokens; to search, with an index of a few words."""
    from pipelines.realm.settings import RealmConfig

    write_tokenizer(folder, max_length=64)
    config = RealmConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        retriever_proj_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        span_hidden_size=16,
        reader_beam_size=3,
        reader_seq_len=48,
        searcher_beam_size=8,
        num_block_records=len(TINY_BLOCKS),
    )
    classes = {each.name: each.auto_class for each in FAMILY.tasks if issubclass(each, TextTask)}
    write_model(folder, classes[task], config)
    if task == "search":
        found = Checkpoint(ref=str(folder), path=str(folder), content="")
        index_texts(Index(found), TINY_BLOCKS, folder)
    if task == "open-question-answering":
        _embed_blocks(folder)


def _embed_blocks(folder: Path) -> None:
    """Gives a checkpoint for open questions its blocks and their vectors."""
    import torch

    from pipelines.realm.reader import RealmForOpenQA
    from pipelines.realm.retriever import save_blocks
    from pipelines.realm.settings import RealmTokenizer
    from pipelines.tasks.loading import quiet

    with quiet(), torch.no_grad():
        model, tokenizer = RealmForOpenQA.from_pretrained(folder).eval(), RealmTokenizer.from_pretrained(folder)
        model.block_emb = model.embedder(**tokenizer(TINY_BLOCKS, padding=True, return_tensors="pt")).projected_score
        model.save_pretrained(folder)
    save_blocks(TINY_BLOCKS, folder)


FAMILY = Family(
    summary="answers questions from blocks of text that it retrieves; its embedder, scorer and encoder",
    tasks=(Features, Index, Search, Relevance, EvidenceMaskedLM, OpenQuestionAnswering),
    checkpoints={
        "": "google/realm-cc-news-pretrained-embedder@main",
        "relevance": "google/realm-cc-news-pretrained-scorer@main",
        "masked-lm": "google/realm-cc-news-pretrained-encoder@main",
        "open-question-answering": "google/realm-orqa-nq-openqa@main",
    },
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("realm",),
)
