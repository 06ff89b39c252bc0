"""REALM: questions answered from blocks of text that a learned retriever finds (Guu et al. 2020,
https://arxiv.org/abs/2002.08909).

    from pipelines.realm import RealmForOpenQA, RealmRetriever

gives the models without the family. Once this package is imported, transformers' Auto classes know ``realm``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pipelines.registering import register

if TYPE_CHECKING:
    from pipelines.realm.model import RealmEmbedder, RealmKnowledgeAugEncoder, RealmScorer
    from pipelines.realm.reader import RealmForOpenQA, RealmReader
    from pipelines.realm.retriever import RealmRetriever
    from pipelines.realm.settings import RealmConfig, RealmTokenizer, RealmTokenizerFast

__all__ = [
    "RealmConfig",
    "RealmEmbedder",
    "RealmForOpenQA",
    "RealmKnowledgeAugEncoder",
    "RealmReader",
    "RealmRetriever",
    "RealmScorer",
    "RealmTokenizer",
    "RealmTokenizerFast",
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
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no {name}")
    return getattr(importlib.import_module(f"pipelines.realm.{_HOME.get(name, 'settings')}"), name)
