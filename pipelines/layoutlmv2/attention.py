"""Self-attention with a bias by distance: along the text, and across the page, horizontally and vertically.

Distances fall into bins, narrow near zero and logarithmic beyond (Raffel et al. 2019, section 2.1); every bin has a
learned bias a head. All layers share the biases, so they are summed once a forward, together with the mask, and the
fused kernel of torch (``scaled_dot_product_attention``) takes them as they are.

Here the biases are trained, as in the paper (section 2.2): transformers reads them without gradient.

Shape suffixes: B examples, L tokens, text and visual ones, N heads, H numbers a head, D distances.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.layoutlmv2 import modeling_layoutlmv2 as original

if TYPE_CHECKING:
    from transformers import LayoutLMv2Config

FAR = 1000
"""Longest distance on a page, in box units."""


class SelfAttention(original.LayoutLMv2SelfAttention):
    """One layer's attention; weights are those of the original."""

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__(config)
        self.config = config
        self.keep_probabilities = False
        """Whether to return the attention probabilities, which the fused kernel never writes down."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        rel_pos: Tensor | None = None,
        rel_2d_pos: Tensor | None = None,
        **_: Any,  # noqa: ANN401  what the original's layers hand on
    ) -> tuple[Tensor, Tensor | None]:
        """The context (B, L, N·H) and the probabilities (B, N, L, L) or None.

        ``attention_mask`` (B or 1, N or 1, L or 1, L) is added to the scores: biases, and the lowest number where
        there is padding. The biases themselves, ``rel_pos`` and ``rel_2d_pos``, are in it already.
        """
        assert rel_pos is None
        assert rel_2d_pos is None
        heads = (*hidden_states.shape[:2], self.num_attention_heads, self.attention_head_size)
        query_BNLH, key_BNLH, value_BNLH = (
            each.view(heads).transpose(1, 2) for each in self.compute_qkv(hidden_states)
        )
        if self.keep_probabilities or self.config._attn_implementation == "eager":
            context_BNLH, shares_BNLL = self._eager(query_BNLH, key_BNLH, value_BNLH, attention_mask)
        else:
            dropout = self.dropout.p if self.training else 0.0
            context_BNLH, shares_BNLL = (
                fn.scaled_dot_product_attention(
                    query_BNLH, key_BNLH, value_BNLH, attn_mask=attention_mask, dropout_p=dropout
                ),
                None,
            )
        return context_BNLH.transpose(1, 2).reshape(*hidden_states.shape[:2], self.all_head_size), shares_BNLL

    def _eager(
        self, query_BNLH: Tensor, key_BNLH: Tensor, value_BNLH: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        scores_BNLL = (query_BNLH / math.sqrt(self.attention_head_size)) @ key_BNLH.transpose(-1, -2)
        if bias is not None:
            scores_BNLL = scores_BNLL + bias
        shares_BNLL = self.dropout(scores_BNLL.softmax(-1, dtype=torch.float32).type_as(value_BNLH))
        return shares_BNLL @ value_BNLH, shares_BNLL


class Encoder(original.LayoutLMv2Encoder):
    """The layers, with the biases made once for all of them."""

    bins_1d: Tensor
    bins_2d: Tensor

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__(config)
        for attention in [each for each in self.modules() if isinstance(each, original.LayoutLMv2Attention)]:
            attention.self = SelfAttention(config)
        self.longest = max(config.max_position_embeddings, math.prod(config.image_feature_pool_shape[:2])) - 1
        self.register_buffer("bins_1d", torch.empty(2 * self.longest + 1, dtype=torch.long), persistent=False)
        self.register_buffer("bins_2d", torch.empty(2 * FAR + 1, dtype=torch.long), persistent=False)
        self.reset_bins()

    @torch.no_grad()
    def reset_bins(self) -> None:
        """Fills what no checkpoint holds: the bin of every distance there can be, from the most negative on."""
        for buffer, bins, far in (
            (self.bins_1d, self.config.rel_pos_bins, self.config.max_rel_pos),
            (self.bins_2d, self.config.rel_2d_pos_bins, self.config.max_rel_2d_pos),
        ):
            most = len(buffer) // 2
            distances_D = torch.arange(-most, most + 1)
            buffer.copy_(original.relative_position_bucket(distances_D, num_buckets=bins, max_distance=far))

    def bias(self, position_ids_BL: Tensor, bbox_BL4: Tensor) -> Tensor | None:
        """The sum of the biases, (B or 1, N, L, L); None where the model has none.

        ``position_ids`` are (1, L) where all examples have the same. Across the page, distances are those of the
        boxes' left and lower edges.
        """
        total: Tensor | None = None
        if self.has_relative_attention_bias:
            total = _looked_up(self.rel_pos_bias, self.bins_1d, position_ids_BL)
        if self.has_spatial_attention_bias:
            across = _looked_up(self.rel_pos_x_bias, self.bins_2d, bbox_BL4[..., 0])
            down = _looked_up(self.rel_pos_y_bias, self.bins_2d, bbox_BL4[..., 3])
            total = across + down if total is None else total + across + down
        return total

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        bbox: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: object,
    ) -> BaseModelOutput:
        """The last layer's (B, L, hidden size); ``attention_mask`` (B, L) is True for tokens that are there.

        Raises ValueError without boxes or positions.
        """
        if bbox is None or position_ids is None:
            raise ValueError("the encoder needs bbox and position_ids")
        bias = self.bias(position_ids, bbox)
        if attention_mask is not None:
            bias = hidden_states.new_zeros((1, 1, 1, 1)) if bias is None else bias
            bias = bias.masked_fill(~attention_mask[:, None, None, :], torch.finfo(bias.dtype).min)
        for attention in [each for each in self.modules() if isinstance(each, SelfAttention)]:
            attention.keep_probabilities = bool(kwargs.get("output_attentions"))
        for layer in self.layer:
            hidden_states = layer(hidden_states, bias)
        return BaseModelOutput(last_hidden_state=hidden_states)


def _looked_up(weights: nn.Linear, bins_D: Tensor, places_BL: Tensor) -> Tensor:
    """The bias (B, N, L, L) for the distances between ``places``, from the looking token to the one looked at."""
    distances_BLL = places_BL[:, None, :] - places_BL[:, :, None] + len(bins_D) // 2
    heads = weights.weight.index_select(1, bins_D).index_select(1, distances_BLL.flatten())  # quicker than indexing
    return heads.view(-1, *distances_BLL.shape).transpose(0, 1)
