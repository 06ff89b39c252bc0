"""REALM's encoders: embedder, scorer, and the encoder that reads a text beside retrieved evidence.

Guu et al. 2020, https://arxiv.org/abs/2002.08909. Names of weights are those of transformers 4.

B texts, N candidates a text, L tokens, H hidden size, P projection size, V pieces of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax
from transformers import BertModel, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import MaskedLMOutput
from transformers.utils.generic import ModelOutput

from pipelines.realm.settings import RealmConfig
from pipelines.registering import settle

_BIAS = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
_TIED = {**_BIAS, "cls.predictions.decoder.weight": "realm.embeddings.word_embeddings.weight"}


@dataclass
class RealmEmbedderOutput(ModelOutput):
    """What ``RealmEmbedder`` says."""

    projected_score: torch.Tensor | None = None
    """(B, P) the text's vector; the field has this name in every checkpoint's documentation."""
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class RealmScorerOutput(ModelOutput):
    """What ``RealmScorer`` says."""

    relevance_score: torch.Tensor | None = None
    """(B, N) inner products of text and candidates, before any softmax."""
    query_score: torch.Tensor | None = None
    """(B, P)"""
    candidate_score: torch.Tensor | None = None
    """(B, N, P)"""


@dataclass
class RealmMaskedLMOutput(MaskedLMOutput):
    """What ``RealmKnowledgeAugEncoder`` says, and the relevance that it was given."""

    relevance_score: torch.Tensor | None = None
    """(B, N)"""


class RealmPreTrainedModel(PreTrainedModel):
    """What REALM's models share."""

    config_class = RealmConfig
    base_model_prefix = "realm"
    _supports_sdpa = True
    config: RealmConfig


class Transform(nn.Module):
    """A layer, its activation and a norm, before the vocabulary projection."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, H) to (…, H)."""
        out: torch.Tensor = self.LayerNorm(self.activation(self.dense(hidden)))
        return out


class Predictions(nn.Module):
    """The vocabulary projection; embedder and reader carry it without using it, as their checkpoints do."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder.bias = self.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, H) to (…, V)."""
        out: torch.Tensor = self.decoder(self.transform(hidden))
        return out


class Projection(nn.Module):
    """The pooled output as a vector for retrieval."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)
        self.dense = nn.Linear(config.hidden_size, config.retriever_proj_size)
        self.LayerNorm = nn.LayerNorm(config.retriever_proj_size, eps=config.layer_norm_eps)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, H) to (B, P)."""
        out: torch.Tensor = self.LayerNorm(self.dense(pooled))
        return out


class Head(nn.Module):
    """The masked-LM head under the name that checkpoints give it."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)


class RealmEmbedder(RealmPreTrainedModel):
    """A text, question or block, as a vector."""

    _tied_weights_keys = _BIAS

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)
        self.realm = BertModel(config.encoder())
        self.cls = Projection(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> RealmEmbedderOutput | tuple[torch.Tensor, ...]:
        """Tokens (B, L) to ``projected_score`` (B, P)."""
        found = self.realm(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        projected = self.cls(found.pooler_output)
        out = RealmEmbedderOutput(projected, hidden_states=found.hidden_states, attentions=found.attentions)
        return out if return_dict is not False else out.to_tuple()


class RealmScorer(RealmPreTrainedModel):
    """How well candidates fit a text. ``query_embedder`` embeds the texts; without it, ``embedder`` does both.

    Then its weights are saved once; a checkpoint of transformers 4 has them under both names.
    """

    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"query_embedder\."]  # type: ignore[misc]

    def __init__(self, config: RealmConfig, query_embedder: RealmEmbedder | None = None) -> None:
        super().__init__(config)
        self.embedder = RealmEmbedder(config)
        if query_embedder is None:
            object.__setattr__(self, "query_embedder", self.embedder)  # no second set of weights
        else:
            # from_pretrained builds models without memory and then fills them; it takes the positions of one that was
            # built before and never gives them back. Its weights come from the checkpoint in any case.
            loading = next(self.embedder.parameters()).is_meta
            self.query_embedder = RealmEmbedder(config) if loading else query_embedder
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        candidate_input_ids: torch.Tensor | None = None,
        candidate_attention_mask: torch.Tensor | None = None,
        candidate_token_type_ids: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> RealmScorerOutput | tuple[torch.Tensor, ...]:
        """Texts (B, L) and candidates (B, N, L) to ``relevance_score`` (B, N)."""
        if input_ids is None or candidate_input_ids is None:
            raise ValueError("RealmScorer needs input_ids and candidate_input_ids")
        query = self.query_embedder(input_ids, attention_mask, token_type_ids, position_ids).projected_score
        flat = (
            None if each is None else each.flatten(0, 1)
            for each in (candidate_input_ids, candidate_attention_mask, candidate_token_type_ids)
        )
        candidates = self.embedder(*flat).projected_score.unflatten(0, candidate_input_ids.shape[:2])
        out = RealmScorerOutput(torch.einsum("bd,bnd->bn", query, candidates), query, candidates)
        return out if return_dict is not False else out.to_tuple()


class RealmKnowledgeAugEncoder(RealmPreTrainedModel):
    """Reads a text beside each of N pieces of evidence and predicts what is masked in it."""

    _tied_weights_keys = _TIED

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)
        self.realm = BertModel(config.encoder())
        self.cls = Head(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings, which the vocabulary projection shares."""
        return self.realm.embeddings.word_embeddings

    def get_output_embeddings(self) -> nn.Module:
        """The vocabulary projection."""
        return self.cls.predictions.decoder

    def forward(  # noqa: PLR0913, PLR0917 - the documented arguments
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        relevance_score: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        mlm_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> RealmMaskedLMOutput | tuple[torch.Tensor, ...]:
        """Tokens (B, N, L) to ``logits`` (B · N, L, V), and the loss of ``labels`` (B, L) where they are given.

        ``relevance_score`` (B, N) weighs the candidates; ``mlm_mask`` (B, L) says which labels count. Raises
        ValueError for labels without relevance.
        """
        flat = [
            None if each is None else each.flatten(0, 1)
            for each in (input_ids, attention_mask, token_type_ids, position_ids)
        ]
        found = self.realm(*flat, output_hidden_states=output_hidden_states, output_attentions=output_attentions)
        logits = self.cls.predictions(found.last_hidden_state)
        loss = None
        if labels is not None:
            if relevance_score is None:
                raise ValueError("labels need relevance_score: the loss is marginal over the candidates")
            likely = marginal_log_likelihood(logits, relevance_score, labels)
            mask = torch.ones_like(likely) if mlm_mask is None else mlm_mask.type_as(likely)
            loss = -torch.nansum(torch.nansum(likely * mask) / torch.nansum(mask))
        out = RealmMaskedLMOutput(loss, logits, found.hidden_states, found.attentions, relevance_score)
        return out if return_dict is not False else out.to_tuple()


def marginal_log_likelihood(logits: torch.Tensor, relevance_score: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B, L) log likelihood of each label, over candidates weighed by their relevance (equation 1 of the paper).

    ``logits`` (B · N, L, V), ``relevance_score`` (B, N), ``labels`` (B, L) with -100 for what is not asked: 0 there.
    """
    batch, candidates = relevance_score.shape
    every = labels[:, None].expand(-1, candidates, -1).flatten(0, 1)
    likely = -cross_entropy(logits.float().transpose(1, 2), every, reduction="none").unflatten(0, (batch, candidates))
    return torch.logsumexp(likely + log_softmax(relevance_score.float(), -1)[..., None], dim=1)


settle("realm", __name__)
