"""REALM's configuration and tokenizer, as transformers 4 had them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BatchEncoding, BertConfig, PreTrainedConfig

from pipelines.registering import settle
from pipelines.tasks.bert_encoder import bert_config
from pipelines.tasks.wordpiece import VocabFileTokenizer


class RealmConfig(PreTrainedConfig):
    """Sizes of REALM's models; the defaults are those of ``google/realm-cc-news-pretrained-embedder``."""

    model_type = "realm"

    vocab_size: int = 30522
    hidden_size: int = 768
    retriever_proj_size: int = 128
    """Numbers of a question's or a block's vector."""
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_candidates: int = 8
    """Candidates that the scorer and the knowledge-augmented encoder see for each text."""
    intermediate_size: int = 3072
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    span_hidden_size: int = 256
    max_span_width: int = 10
    """Longest answer in tokens."""
    reader_layer_norm_eps: float = 1e-3
    reader_beam_size: int = 5
    """Blocks that the reader reads."""
    reader_seq_len: int = 320
    """Tokens of question and block together."""
    num_block_records: int = 13353718
    searcher_beam_size: int = 5000
    """Blocks that training scores."""
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = True
    """Whether the knowledge-augmented encoder's vocabulary projection is its word embeddings."""

    def encoder(self) -> BertConfig:
        """What the encoder is: a BERT of these sizes. Padding is the vocabulary's [PAD], 0, whatever the
        configuration says: its row of the embeddings is no other."""
        return bert_config(self)


class RealmTokenizer(VocabFileTokenizer):
    """BERT's tokenizer, and one call for several candidates a text."""

    def batch_encode_candidates(
        self,
        text: Sequence[Sequence[str]],
        text_pair: Sequence[Sequence[str]] | None = None,
        **how: Any,  # noqa: ANN401 - the tokenizer's own
    ) -> BatchEncoding:
        """Tokens (batch, candidates, max_length) of candidates (or of pairs), always padded to ``max_length``.

        ``how`` goes to the tokenizer's own call; ``max_length`` is needed unless the tokenizer has one.
        """
        tensors = how.pop("return_tensors", None)
        how["padding"] = "max_length"
        pairs = [None] * len(text) if text_pair is None else text_pair
        rows = [
            self(list(one), None if pair is None else list(pair), **how) for one, pair in zip(text, pairs, strict=True)
        ]
        return BatchEncoding({name: [row[name] for row in rows] for name in rows[0]}, tensor_type=tensors)


RealmTokenizerFast = RealmTokenizer


settle("realm", __name__)
