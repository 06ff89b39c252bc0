"""LayoutLMv2 and its heads (Xu et al. 2020, https://arxiv.org/abs/2012.14740), with the names of transformers' classes.

Transformers' own need detectron2, which has no wheels. These have the same weights, arguments and outputs, and load the
same checkpoints; so do LayoutXLM's. What differs, on purpose:

* the attention biases are trained (attention.py), and weights on which no loss depends are not: a head's pooler and the
  pyramid's unused outputs, which would make distributed training wait for gradients that never come;
* classification runs the visual backbone once a page, not twice;
* ``image`` may be what ``visual`` made of it, so that a page's windows and questions share the work;
* what is out of range, or missing, is named.

Shape suffixes: B examples, T text tokens, V visual tokens, L = T + V, H hidden size, C labels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import LayoutLMv2Config, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.layoutlmv2 import modeling_layoutlmv2 as original
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from pipelines.layoutlmv2.attention import FAR, Encoder, SelfAttention
from pipelines.layoutlmv2.backbone import LayoutLMv2VisualBackbone, fresh

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class LayoutLMv2PreTrainedModel(PreTrainedModel):
    """What all of them share: loading, saving, fresh weights, synchronised batch norm."""

    config: LayoutLMv2Config
    config_class = LayoutLMv2Config
    base_model_prefix = "layoutlmv2"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["LayoutLMv2Layer", "Bottleneck"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"\.num_batches_tracked$",
        r"visual\.pixel_(mean|std)$",
        r"embeddings\.position_ids$",
        r"^cls\.",
    ]
    """Counters of norms that were synchronised, buffers that older releases saved, the head of pretraining."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Fresh weights as the originals draw them: the backbone's as detectron2 does, all else as transformers."""
        super()._init_weights(module)
        if isinstance(module, SelfAttention) and module.fast_qkv:
            for bias in (module.q_bias, module.v_bias):
                assert bias is not None
                init.zeros_(bias)
        elif isinstance(module, original.LayoutLMv2Embeddings):
            init.copy_(module.position_ids, torch.arange(module.position_ids.shape[-1]).expand((1, -1)))
        elif isinstance(module, Encoder):
            module.reset_bins()
        elif isinstance(module, LayoutLMv2Model) and module.has_visual_segment_embedding:
            init.normal_(module.visual_segment_embedding, mean=0.0, std=self.config.initializer_range)
        else:
            fresh(module)

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of words."""
        return self._whole().embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the embeddings of words."""
        assert isinstance(value, nn.Embedding)
        self._whole().embeddings.word_embeddings = value

    def synchronize_batch_norm(self, process_group: ProcessGroup | None = None) -> None:
        """Makes the backbone's frozen norms trainable, with statistics over all workers; see backbone.py."""
        self._whole().visual.synchronize_batch_norm(process_group)

    def _whole(self) -> LayoutLMv2Model:
        found = getattr(self, self.base_model_prefix, self)
        assert isinstance(found, LayoutLMv2Model)
        return found


class LayoutLMv2Model(LayoutLMv2PreTrainedModel):
    """The encoder of a page's words, their places and its image."""

    _can_record_outputs = {"hidden_states": original.LayoutLMv2Layer, "attentions": SelfAttention}  # noqa: RUF012

    def __init__(self, config: LayoutLMv2Config) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.has_visual_segment_embedding = config.has_visual_segment_embedding
        self.embeddings = original.LayoutLMv2Embeddings(config)
        self.visual = LayoutLMv2VisualBackbone(config)
        self.visual_proj = nn.Linear(config.image_feature_pool_shape[-1], size)
        if self.has_visual_segment_embedding:
            self.visual_segment_embedding = nn.Parameter(torch.zeros(size))
        self.visual_LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.visual_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.encoder = Encoder(config)
        self.pooler = original.LayoutLMv2Pooler(config)
        self.post_init()

    @property
    def visual_tokens(self) -> int:
        """How many visual tokens a page has."""
        return math.prod(self.config.image_feature_pool_shape[:2])

    def see(self, image: Tensor | None) -> Tensor:
        """Visual features (B, V, channels) of images, or these themselves. Raises ValueError where there are none."""
        if image is None:
            raise ValueError("LayoutLMv2 needs image: (batch, 3, 224, 224), blue, green, red, 0 to 255")
        if isinstance(image, Tensor) and image.ndim == 3:
            return image
        seen: Tensor = self.visual(image)
        return seen

    def embed_visual(self, seen_BVC: Tensor) -> Tensor:
        """Visual features as embeddings (B, V, H): with their places on the page and in the sequence."""
        batch, device = len(seen_BVC), seen_BVC.device
        positions_V = torch.arange(self.visual_tokens, device=device)
        embedded = self.visual_proj(seen_BVC) + self.embeddings.position_embeddings(positions_V)
        embedded = embedded + self.embeddings._calc_spatial_position_embeddings(self._fields(batch, device))
        if self.has_visual_segment_embedding:
            embedded = embedded + self.visual_segment_embedding
        dropped: Tensor = self.visual_dropout(self.visual_LayerNorm(embedded))
        return dropped

    def _fields(self, batch: int, device: torch.device) -> Tensor:
        """The boxes (B, V, 4) of the fields that the visual tokens stand for, rows first."""
        rows, columns = self.config.image_feature_pool_shape[:2]
        x, y = (FAR * torch.arange(n + 1, device=device) // n for n in (columns, rows))
        y0, x0 = torch.meshgrid(y[:-1], x[:-1], indexing="ij")
        y1, x1 = torch.meshgrid(y[1:], x[1:], indexing="ij")
        return torch.stack([x0, y0, x1, y1], dim=-1).reshape(1, -1, 4).expand(batch, -1, -1)

    def _embed_text(self, words_BTH: Tensor, bbox_BT4: Tensor, types_BT: Tensor, positions_BT: Tensor) -> Tensor:
        parts = self.embeddings
        embedded = words_BTH + parts.position_embeddings(positions_BT) + parts.token_type_embeddings(types_BT)
        embedded = embedded + parts._calc_spatial_position_embeddings(bbox_BT4)
        dropped: Tensor = parts.dropout(parts.LayerNorm(embedded))
        return dropped

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        bbox: Tensor | None = None,
        image: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,  # noqa: ANN401  output_hidden_states, output_attentions, return_dict
    ) -> BaseModelOutputWithPooling:
        """``last_hidden_state`` (B, T + V, H), the text's tokens first, and ``pooler_output`` (B, H).

        ``bbox`` (B, T, 4) is 0 to 1000 (zeros where it is left out); ``image`` (B, 3, Y, X) is blue, green, red, 0 to
        255, or (B, V, channels) as ``see`` gives it. Raises ValueError where inputs are missing or boxes out of range.
        """
        words_BTH = self._words(input_ids, inputs_embeds)
        batch, length, device = *words_BTH.shape[:2], words_BTH.device
        nothing = torch.zeros((batch, length), dtype=torch.long, device=device)
        bbox_BT4 = nothing[..., None].expand(-1, -1, 4) if bbox is None else _checked(bbox)
        if position_ids is None:
            position_ids = self.embeddings.position_ids[:, :length]
        types_BT = nothing if token_type_ids is None else token_type_ids
        text_BTH = self._embed_text(words_BTH, bbox_BT4, types_BT, position_ids)
        seen_BVH = self.embed_visual(self.see(image))
        visual_V = torch.arange(self.visual_tokens, device=device).expand(len(position_ids), -1)
        hidden_BLH = self.encoder(
            torch.cat([text_BTH, seen_BVH], dim=1),
            None if attention_mask is None else _with_visual(attention_mask, self.visual_tokens),
            bbox=torch.cat([bbox_BT4, self._fields(batch, device)], dim=1),
            position_ids=torch.cat([position_ids, visual_V], dim=1),
            **kwargs,
        ).last_hidden_state
        return BaseModelOutputWithPooling(last_hidden_state=hidden_BLH, pooler_output=self.pooler(hidden_BLH))

    def _words(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if inputs_embeds is not None:
            return inputs_embeds
        words: Tensor = self.embeddings.word_embeddings(input_ids)
        return words


def _checked(bbox_BT4: Tensor) -> Tensor:
    """Boxes as long integers. Raises ValueError where one is out of range or turned round."""
    wrong = (bbox_BT4.min() < 0) | (bbox_BT4.max() > FAR) | (bbox_BT4[..., 2:] < bbox_BT4[..., :2]).any()
    if bbox_BT4.numel() and bool(wrong):
        raise ValueError(f"bbox must be x0, y0, x1, y1 from 0 to {FAR}, with x0 <= x1 and y0 <= y1")
    return bbox_BT4.long()


def _with_visual(attention_mask_BT: Tensor, visual: int) -> Tensor:
    """The mask (B, L) as truth values; visual tokens are always there."""
    return nn.functional.pad(attention_mask_BT.bool(), (0, visual), value=True)
