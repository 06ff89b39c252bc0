"""LayoutLMv2's heads: a label a page, a label a token, the span of an answer.

Shape suffixes: B examples, T text tokens, V visual tokens, H hidden size, C labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as fn
from transformers import LayoutLMv2Config
from transformers.modeling_outputs import (
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from pipelines.layoutlmv2.model import LayoutLMv2Model, LayoutLMv2PreTrainedModel


class _Head(LayoutLMv2PreTrainedModel):
    """A model with a head; no head looks at the pooler, which is kept for its name in checkpoints, untrained."""

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or {})
        self.layoutlmv2 = LayoutLMv2Model(config)
        self.layoutlmv2.pooler.requires_grad_(False)


class LayoutLMv2ForSequenceClassification(_Head):
    """A page's label, from the CLS token and the means of the visual tokens before and after the encoder."""

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(3 * config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        bbox: Tensor | None = None,
        image: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,  # noqa: ANN401  output_hidden_states, output_attentions, return_dict
    ) -> SequenceClassifierOutput:
        """``logits`` (B, C), and ``loss`` where there are labels, by ``config.problem_type``."""
        seen_BVC = self.layoutlmv2.see(image)
        before_BH = self.layoutlmv2.embed_visual(seen_BVC).mean(dim=1)
        inputs = (input_ids, bbox, seen_BVC, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs: Any = self.layoutlmv2(*inputs, **kwargs)
        hidden_BLH = outputs.last_hidden_state
        after_BH = hidden_BLH[:, -self.layoutlmv2.visual_tokens :].mean(dim=1)
        logits_BC = self.classifier(self.dropout(torch.cat([hidden_BLH[:, 0], before_BH, after_BH], dim=1)))
        return SequenceClassifierOutput(
            loss=None if labels is None else self._loss(logits_BC, labels),
            logits=logits_BC,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _loss(self, logits_BC: Tensor, labels: Tensor) -> Tensor:
        """Squared error, cross entropy, or binary cross entropy; where the config leaves it open, by the labels."""
        if self.config.problem_type is None:
            if self.num_labels == 1:
                self.config.problem_type = "regression"
            elif labels.is_floating_point():
                self.config.problem_type = "multi_label_classification"
            else:
                self.config.problem_type = "single_label_classification"
        if self.config.problem_type == "regression":
            return fn.mse_loss(logits_BC, labels.view_as(logits_BC))
        if self.config.problem_type == "single_label_classification":
            return fn.cross_entropy(logits_BC, labels.view(-1))
        return fn.binary_cross_entropy_with_logits(logits_BC, labels)


class LayoutLMv2ForTokenClassification(_Head):
    """A label for each token of the text."""

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        bbox: Tensor | None = None,
        image: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,  # noqa: ANN401  output_hidden_states, output_attentions, return_dict
    ) -> TokenClassifierOutput:
        """``logits`` (B, T, C), and ``loss`` where there are labels (B, T); -100 counts for nothing."""
        inputs = (input_ids, bbox, image, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs: Any = self.layoutlmv2(*inputs, **kwargs)
        text_BTH = outputs.last_hidden_state[:, : -self.layoutlmv2.visual_tokens]
        logits_BTC = self.classifier(self.dropout(text_BTH))
        return TokenClassifierOutput(
            loss=None if labels is None else fn.cross_entropy(logits_BTC.flatten(0, 1), labels.flatten()),
            logits=logits_BTC,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class LayoutLMv2ForQuestionAnswering(_Head):
    """First and last token of the answer."""

    def __init__(self, config: LayoutLMv2Config, has_visual_segment_embedding: bool = True) -> None:
        config.has_visual_segment_embedding = has_visual_segment_embedding
        super().__init__(config)
        self.qa_outputs = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        bbox: Tensor | None = None,
        image: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Any,  # noqa: ANN401  output_hidden_states, output_attentions, return_dict
    ) -> QuestionAnsweringModelOutput:
        """``start_logits`` and ``end_logits`` (B, T), and the mean ``loss`` of both where positions (B,) are given.

        Positions beyond the text count for nothing.
        """
        inputs = (input_ids, bbox, image, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs: Any = self.layoutlmv2(*inputs, **kwargs)
        text_BTH = outputs.last_hidden_state[:, : -self.layoutlmv2.visual_tokens]
        start_BT, end_BT = (each.squeeze(-1).contiguous() for each in self.qa_outputs(text_BTH).split(1, dim=-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (_at(start_BT, start_positions) + _at(end_BT, end_positions)) / 2
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_BT,
            end_logits=end_BT,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def _at(logits_BT: Tensor, positions: Tensor) -> Tensor:
    """Cross entropy at positions (B,) or (B, 1); those beyond the text are left out."""
    beyond = logits_BT.shape[1]
    return fn.cross_entropy(logits_BT, positions.view(-1).clamp(0, beyond), ignore_index=beyond)
