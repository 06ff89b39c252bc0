"""RetriBERT: questions and documents as vectors whose products tell how well they fit.

One BERT, or one each, and a projection each (Jernite 2020, https://yjernite.github.io/lfqa.html). Names of weights are
those of transformers 4.

B pairs, L tokens, H hidden size, P projection size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import BertModel, PreTrainedModel
from transformers.utils.generic import ModelOutput

from pipelines.registering import settle
from pipelines.retribert.settings import RetriBertConfig


class RetriBertModel(PreTrainedModel):
    """Embeds questions and documents; called with pairs, it gives their contrastive loss."""

    config_class = RetriBertConfig
    base_model_prefix = "retribert"
    _supports_sdpa = True
    config: RetriBertConfig

    def __init__(self, config: RetriBertConfig) -> None:
        super().__init__(config)
        self.bert_query = BertModel(config.encoder())
        self.bert_doc = None if config.share_encoders else BertModel(config.encoder())
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.project_query = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.project_doc = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.post_init()

    def embed_questions(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, checkpoint_batch_size: int = -1
    ) -> torch.Tensor:
        """Vectors (B, P) of questions; ``checkpoint_batch_size`` bounds memory in training (see ``forward``)."""
        vectors: torch.Tensor = self.project_query(
            _pooled(self.bert_query, input_ids, attention_mask, checkpoint_batch_size)
        )
        return vectors

    def embed_answers(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, checkpoint_batch_size: int = -1
    ) -> torch.Tensor:
        """Vectors (B, P) of documents."""
        encoder = self.bert_doc if self.bert_doc is not None else self.bert_query
        vectors: torch.Tensor = self.project_doc(_pooled(encoder, input_ids, attention_mask, checkpoint_batch_size))
        return vectors

    def forward(
        self,
        input_ids_query: torch.Tensor,
        attention_mask_query: torch.Tensor | None,
        input_ids_doc: torch.Tensor,
        attention_mask_doc: torch.Tensor | None,
        checkpoint_batch_size: int = -1,
    ) -> torch.Tensor:
        """The contrastive loss of B pairs (B, L): each question's own document among all of the batch, and the other
        way round, averaged. ``checkpoint_batch_size`` encodes so many at once and again for the gradients."""
        questions = self.embed_questions(input_ids_query, attention_mask_query, checkpoint_batch_size)
        documents = self.embed_answers(input_ids_doc, attention_mask_doc, checkpoint_batch_size)
        scores = questions @ documents.T
        own = torch.arange(len(scores), device=scores.device)
        return (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2


@dataclass
class DualOutput(ModelOutput):
    """Vectors of a batch of questions and documents."""

    embeddings: torch.Tensor | None = None
    """(N, P)"""


class DualEncoder(RetriBertModel):
    """The same weights, called with questions and documents in one batch."""

    def forward(  # type: ignore[override]
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, is_document: torch.Tensor
    ) -> DualOutput:
        """Vectors (N, P) of texts (N, L), each projected as a question or as a document (N,)."""
        pooled = _pooled(self.bert_query, input_ids, attention_mask, -1)
        other = pooled if self.bert_doc is None else _pooled(self.bert_doc, input_ids, attention_mask, -1)
        question, document = self.project_query(pooled), self.project_doc(other)
        return DualOutput(embeddings=torch.where(is_document[:, None].bool(), document, question))


def _pooled(
    encoder: BertModel, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, checkpoint_batch_size: int
) -> torch.Tensor:
    """The encoder's pooled output (B, H)."""
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask

    def encode(ids: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = encoder(input_ids=ids, attention_mask=there).pooler_output
        return pooled

    if checkpoint_batch_size < 0 or len(input_ids) <= checkpoint_batch_size:
        return encode(input_ids, mask)
    parts = zip(input_ids.split(checkpoint_batch_size), mask.split(checkpoint_batch_size), strict=True)
    return torch.cat([checkpoint(encode, ids, there, use_reentrant=False) for ids, there in parts])


settle("retribert", __name__)
