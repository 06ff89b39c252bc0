"""SEW-D: speech recognition that squeezes frames and attends as DeBERTa does (Wu et al. 2021,
https://arxiv.org/abs/2109.06870).

Texts are read off the best path. There is no beam search with a language model, because no library for it is well
kept: pyctcdecode, which transformers uses, has had no release since January 2023 and wants NumPy 1; flashlight-text had
its last one in March 2024, and torchaudio, which wraps it, is in its maintenance phase. Where a language model matters,
``speech_encoder_decoder`` has one: its decoder.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.audio_classification import AudioClassification
from pipelines.tasks.audio_features import AudioFeatures
from pipelines.tasks.automatic_speech_recognition import AutomaticSpeechRecognition
from pipelines.tasks.tiny import write_model

TINY_CLASSES = {
    "features": "SEWDModel",
    "audio-classification": "SEWDForSequenceClassification",
    "automatic-speech-recognition": "SEWDForCTC",
}
TINY_VOCABULARY = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLU")


def tiny(folder: Path, task: str) -> None:
    """A SEW-D of two layers, 32 wide, that hears 8,000 samples a second and spells with twelve letters."""
    from transformers import SEWDConfig, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({piece: number for number, piece in enumerate(TINY_VOCABULARY)}))
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)  # type: ignore[no-untyped-call]
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=True)  # type: ignore[no-untyped-call]
    extractor.save_pretrained(folder)
    config = SEWDConfig(
        vocab_size=len(TINY_VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        squeeze_factor=2,
        max_position_embeddings=64,
        position_buckets=16,
        conv_dim=(16, 16, 32),
        conv_stride=(5, 4, 4),
        conv_kernel=(10, 4, 4),
        num_conv_pos_embeddings=15,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=16,
        num_labels=4,  # type: ignore[call-arg]
        pad_token_id=0,
        initializer_range=0.3,
    )
    write_model(folder, TINY_CLASSES[task], config)


FAMILY = Family(
    summary="speech model that trades little accuracy for much speed",
    tasks=(AutomaticSpeechRecognition, AudioClassification, AudioFeatures),
    checkpoints={"": "asapp/sew-d-tiny-100k-ft-ls100h@main"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("sew-d",),
)
