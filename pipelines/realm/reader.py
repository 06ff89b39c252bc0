"""REALM's reader and open question answering: an answer among the spans of retrieved blocks.

Lee et al. 2019 (https://arxiv.org/abs/1906.00300), section 4, and Guu et al. 2020. Names of weights are those of
transformers 4.

R blocks that are read, K blocks that are scored (K >= R), L tokens of question and block, C spans of a block,
A answers' places a block, S span hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BatchEncoding, BertModel
from transformers.utils.generic import ModelOutput

from pipelines.realm.model import _BIAS, Head, RealmEmbedder, RealmPreTrainedModel
from pipelines.realm.retriever import RealmRetriever
from pipelines.realm.settings import RealmConfig


@dataclass
class RealmReaderOutput(ModelOutput):
    """What ``RealmReader`` says; losses and what is correct where answers are given."""

    loss: torch.Tensor | None = None
    retriever_loss: torch.Tensor | None = None
    reader_loss: torch.Tensor | None = None
    retriever_correct: torch.Tensor | None = None
    """(K,) whether a block holds an answer."""
    reader_correct: torch.Tensor | None = None
    """(R, C) whether a span is one."""
    block_idx: torch.Tensor | None = None
    """() the block of the best span."""
    candidate: torch.Tensor | None = None
    """() the best span's number."""
    start_pos: torch.Tensor | None = None
    """(1,) its first token."""
    end_pos: torch.Tensor | None = None
    """(1,) its last token, inclusive."""
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    log_probability: torch.Tensor | None = None
    """() of the best span among all spans of all blocks; transformers 4 did not tell it."""


@dataclass
class RealmForOpenQAOutput(ModelOutput):
    """What ``RealmForOpenQA`` says."""

    reader_output: RealmReaderOutput | None = None
    predicted_answer_ids: torch.Tensor | None = None
    """(tokens of the answer,)"""


class SpanScores(nn.Module):
    """A score for every span of at most ``max_span_width`` tokens, from its first and its last one."""

    def __init__(self, config: RealmConfig) -> None:
        super().__init__()
        self.max_span_width = config.max_span_width
        self.dense_intermediate = nn.Linear(config.hidden_size, 2 * config.span_hidden_size)
        self.dense_output = nn.Linear(config.span_hidden_size, 1)
        self.layer_normalization = nn.LayerNorm(config.span_hidden_size, eps=config.reader_layer_norm_eps)

    def spans(self, length: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """First and last tokens (C,) of all spans: those of one token, then of two, and so on."""
        widths = range(min(self.max_span_width, length))
        starts = torch.cat([torch.arange(length - width, device=device) for width in widths])
        more = torch.cat([torch.full((length - width,), width, device=device) for width in widths])
        return starts, starts + more

    def forward(
        self, hidden: torch.Tensor, block_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Hidden states (R, L, H) to scores (R, C), and the spans; the lowest number where a span leaves its block."""
        starts, ends = self.spans(hidden.shape[1], hidden.device)
        first, last = self.dense_intermediate(hidden).chunk(2, dim=-1)
        both = torch.relu(first[:, starts] + last[:, ends])
        scores = self.dense_output(self.layer_normalization(both)).squeeze(-1)
        inside = block_mask[:, starts] & block_mask[:, ends]
        return scores + _penalty(inside, scores.dtype), starts, ends


class RealmReader(RealmPreTrainedModel):
    """Finds the answer among the spans of R blocks; trained on K blocks with the places of answers in them."""

    _tied_weights_keys = _BIAS

    def __init__(self, config: RealmConfig) -> None:
        super().__init__(config)
        self.realm = BertModel(config.encoder())
        self.cls = Head(config)
        self.qa_outputs = SpanScores(config)
        self.post_init()

    def forward(  # noqa: PLR0913, PLR0917 - the documented arguments
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        relevance_score: torch.Tensor | None = None,
        block_mask: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        has_answers: torch.Tensor | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool = False,
    ) -> RealmReaderOutput | tuple[Any, ...]:
        """Tokens (R, L) of question and block to the best span.

        ``relevance_score`` (K,), ``block_mask`` (K, L) tells a block's tokens; for a loss ``has_answers`` (K,),
        ``start_positions`` and ``end_positions`` (K, A) with -1 for none. Raises ValueError without relevance or mask.
        """
        if relevance_score is None or block_mask is None:
            raise ValueError("RealmReader needs relevance_score and block_mask")
        found = self.realm(
            input_ids, attention_mask, token_type_ids, position_ids, output_hidden_states=output_hidden_states
        )
        read = len(found.last_hidden_state)
        scores, starts, ends = self.qa_outputs(found.last_hidden_state, block_mask[:read])
        scores = scores + relevance_score[:read, None]
        candidate = scores.max(dim=0).values.argmax()
        out = RealmReaderOutput(
            block_idx=scores.max(dim=1).values.argmax(),
            candidate=candidate,
            start_pos=starts[candidate][None],
            end_pos=ends[candidate][None],
            hidden_states=found.hidden_states,
            attentions=found.attentions,
            log_probability=scores.max() - scores.flatten().logsumexp(0),
        )
        if start_positions is not None and end_positions is not None and has_answers is not None:
            right = _right_spans(starts, ends, start_positions[:read], end_positions[:read])
            out.retriever_correct, out.reader_correct = has_answers, right
            out.retriever_loss = marginal_loss(relevance_score, has_answers)
            out.reader_loss = marginal_loss(scores.flatten(), right.flatten())
            out.loss = (out.retriever_loss + out.reader_loss).mean()
        return out if return_dict is not False else out.to_tuple()


class RealmForOpenQA(RealmPreTrainedModel):
    """Answers a question: embeds it, retrieves blocks by their vectors, reads the best ones."""

    def __init__(self, config: RealmConfig, retriever: RealmRetriever | None = None) -> None:
        super().__init__(config)
        self.embedder = RealmEmbedder(config)
        self.reader = RealmReader(config)
        self.block_emb: torch.Tensor
        self.register_buffer("block_emb", torch.zeros(config.num_block_records, config.retriever_proj_size))
        self.retriever = retriever
        self.post_init()

    @property
    def searcher_beam_size(self) -> int:
        """Blocks that are scored: those that are read, and in training more."""
        return self.config.searcher_beam_size if self.training else self.config.reader_beam_size

    def block_embedding_to(self, device: torch.device | str) -> None:
        """Moves the blocks' vectors, which are most of the model, to a device of their own."""
        self.block_emb = self.block_emb.to(device)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        answer_ids: list[list[int]] | torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> RealmForOpenQAOutput | tuple[Any, ...]:
        """One question (1, L) to its answer; ``answer_ids`` are accepted answers' tokens, for a loss: lists, or a
        tensor (1, answers, tokens) padded with -1.

        Raises ValueError for several questions at once, or without a retriever.
        """
        if len(input_ids) != 1:
            raise ValueError(f"RealmForOpenQA takes one question at a time, not {len(input_ids)}")
        answers = answer_ids
        if isinstance(answers, torch.Tensor):
            rows = answers.flatten(0, -2).tolist()
            answers = [ids for row in rows if (ids := [token for token in row if token >= 0])]
        question = self.embedder(input_ids, attention_mask, token_type_ids).projected_score
        blocks = self.search(question)[0]
        relevance = self.block_emb[blocks].to(question.device) @ question[0]
        out, found = self.read(input_ids, blocks, relevance, answers)
        assert out.start_pos is not None
        assert out.end_pos is not None
        answer = found.input_ids[out.block_idx][int(out.start_pos) : int(out.end_pos) + 1]
        whole = RealmForOpenQAOutput(out, answer)
        return whole if return_dict is not False else (out, answer)

    def search(self, questions: torch.Tensor) -> torch.Tensor:
        """Numbers (Q, K) of the blocks that fit questions (Q, P) best."""
        scores = torch.einsum("bd,qd->qb", self.block_emb, questions.to(self.block_emb.device))
        return scores.topk(min(self.searcher_beam_size, scores.shape[1]), dim=-1).indices

    def read(
        self,
        input_ids: torch.Tensor,
        block_ids: torch.Tensor,
        relevance: torch.Tensor,
        answer_ids: list[list[int]] | None,
    ) -> tuple[RealmReaderOutput, BatchEncoding]:
        """What the reader finds for one question (1, L) in blocks (K,), and what it was given."""
        if self.retriever is None:
            raise ValueError("RealmForOpenQA needs a retriever: give one to from_pretrained(…, retriever=…)")
        places = self.retriever(block_ids.cpu(), input_ids, answer_ids, max_length=self.config.reader_seq_len)
        found = places.inputs.to(input_ids.device)
        first = slice(self.config.reader_beam_size)
        out = self.reader(
            input_ids=found.input_ids[first],
            attention_mask=found.attention_mask[first],
            token_type_ids=found.token_type_ids[first],
            relevance_score=relevance,
            block_mask=(found.special_tokens_mask == 0) & (found.token_type_ids == 1),
            **places.positions(input_ids.device),
        )
        return out, found


def marginal_loss(scores: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """Minus the log of the probability of all that is correct together; 0 where nothing is."""
    numerator = torch.logsumexp(scores + _penalty(correct.bool(), scores.dtype), dim=-1)
    return (torch.logsumexp(scores, dim=-1) - numerator) * correct.any()


def _right_spans(starts: torch.Tensor, ends: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """(R, C) whether a span is one of the answers' places (R, A)."""
    same = (starts[:, None] == first[:, None, :]) & (ends[:, None] == last[:, None, :])
    return same.any(dim=-1)


def _penalty(there: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where there is something, else the lowest number."""
    return (~there).to(dtype) * torch.finfo(dtype).min
