"""RetriBERT's configuration and tokenizer, as transformers 4 had them."""

from __future__ import annotations

from transformers import BertConfig, PreTrainedConfig

from pipelines.registering import settle
from pipelines.tasks.bert_encoder import bert_config
from pipelines.tasks.wordpiece import VocabFileTokenizer


class RetriBertConfig(PreTrainedConfig):
    """Sizes of a RetriBERT; the defaults are those of ``yjernite/retribert-base-uncased``."""

    model_type = "retribert"

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 8
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    share_encoders: bool = True
    """Whether questions and documents have one encoder; their projections are two in any case."""
    projection_dim: int = 128
    pad_token_id: int | None = 0

    def encoder(self) -> BertConfig:
        """What one encoder is: a BERT of these sizes."""
        return bert_config(self, "pad_token_id")


class RetriBertTokenizer(VocabFileTokenizer):
    """BERT's tokenizer under the name that old checkpoints have."""


RetriBertTokenizerFast = RetriBertTokenizer


settle("retribert", __name__)
