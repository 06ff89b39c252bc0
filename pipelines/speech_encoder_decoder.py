"""Speech encoder-decoders: any speech encoder and any text decoder, such as XLS-R and mBART (Babu et al. 2021,
https://arxiv.org/abs/2111.09296)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.family import Family
from pipelines.tasks.composing import encoder_decoder
from pipelines.tasks.speech_to_text import SpeechToText, SpeechTranslation
from pipelines.tasks.tiny import SPECIAL, vocabulary, write_model, write_tokenizer


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001  both tasks have one model
    """A wav2vec 2.0 and a BERT of two layers, 32 wide, that hear 8,000 samples a second and stop after 16 tokens."""
    from transformers import BertConfig, SpeechEncoderDecoderConfig, Wav2Vec2Config, Wav2Vec2FeatureExtractor

    write_tokenizer(folder, max_length=64)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=True)  # type: ignore[no-untyped-call]
    extractor.save_pretrained(folder)
    layers: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_range": 0.3,
    }
    encoder = Wav2Vec2Config(
        **layers,
        conv_dim=(16, 16, 32),
        conv_stride=(5, 4, 4),
        conv_kernel=(10, 4, 4),
        num_conv_pos_embeddings=15,
        num_conv_pos_embedding_groups=2,
    )
    config = SpeechEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder,
        BertConfig(**layers, vocab_size=len(vocabulary()), max_position_embeddings=64),
        pad_token_id=SPECIAL.index("[PAD]"),
        decoder_start_token_id=SPECIAL.index("[CLS]"),
        eos_token_id=SPECIAL.index("[SEP]"),
    )
    write_model(folder, "SpeechEncoderDecoderModel", config, max_new_tokens=16)


FAMILY = Family(
    summary="writes what a recording says, in its language or another: any speech encoder with any text decoder",
    tasks=(SpeechToText, SpeechTranslation),
    checkpoints={"": "facebook/wav2vec2-xls-r-300m-en-to-15@main"},
    licence="Apache-2.0",
    tiny=tiny,
    build=encoder_decoder("SpeechEncoderDecoderModel", "AutoFeatureExtractor"),
    model_types=("speech-encoder-decoder",),
)
