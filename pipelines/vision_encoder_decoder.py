"""Vision encoder-decoders: any image encoder and any text decoder, such as ViT and GPT-2 for captions, or TrOCR, which
reads lines of text (Li et al. 2021, https://arxiv.org/abs/2109.10282)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.family import Family
from pipelines.tasks.composing import encoder_decoder
from pipelines.tasks.image_captioning import ImageCaptioning, TextRecognition
from pipelines.tasks.tiny import SPECIAL, vocabulary, write_image_processor, write_model, write_tokenizer


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001  both tasks have one model
    """A ViT and a BERT of two layers, 32 wide, that look at 32 × 32 pixels and stop after 16 tokens."""
    from transformers import BertConfig, VisionEncoderDecoderConfig, ViTConfig

    write_tokenizer(folder, max_length=64)
    write_image_processor(folder, "ViTImageProcessorPil", size={"height": 32, "width": 32})
    layers: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "initializer_range": 0.3,
    }
    decoder = BertConfig(**layers, vocab_size=len(vocabulary()), max_position_embeddings=64)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**layers, image_size=32, patch_size=8),
        decoder,
        pad_token_id=SPECIAL.index("[PAD]"),
        decoder_start_token_id=SPECIAL.index("[CLS]"),
        eos_token_id=SPECIAL.index("[SEP]"),
    )
    write_model(folder, "VisionEncoderDecoderModel", config, max_new_tokens=16)


FAMILY = Family(
    summary="writes what an image shows or says: any image encoder with any text decoder",
    tasks=(ImageCaptioning, TextRecognition),
    checkpoints={
        "": "nlpconnect/vit-gpt2-image-captioning@dc68f91c06a1ba6f15268e5b9c13ae7a7c514084",
        "text-recognition": "microsoft/trocr-base-printed@93450be3f1ed40a930690d951ef3932687cc1892",
    },
    licence="Apache-2.0 (TrOCR: MIT)",
    tiny=tiny,
    build=encoder_decoder("VisionEncoderDecoderModel", "AutoImageProcessor"),
    model_types=("vision-encoder-decoder",),
)
