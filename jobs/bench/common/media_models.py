"""CLIP-base, SEW-D-tiny and VideoMAE-base with random weights: speed does not depend on what they have learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.tasks.tiny import write_image_processor, write_model

LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"EATOINSHRDLUWMFCGYPBVKXJQZ'")
"""The characters of asapp/sew-d-tiny-100k-ft-ls100h."""
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
"""Layers of a model where it is only to be seen that all works."""
_LABELS: dict[str, Any] = {"num_labels": 400}
SIDE = 64
"""Rows and columns of what such a model looks at, in pixels."""


def clip_base(folder: Path, sentences: Sequence[str], *, small: bool = False) -> None:
    """CLIP-base (ViT-B/32). Its tokenizer knows the sentences' words whole, as the published one does."""
    from transformers import CLIPConfig

    folder.mkdir(parents=True)
    pieces = _write_tokenizer(folder, sentences)
    look: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "crop": SIDE} if small else {}
    write_image_processor(folder, "CLIPImageProcessorPil", **look)
    layers = SMALL if small else {}
    sides = {"image_size": SIDE} if small else {}
    ends = {"bos_token_id": pieces["<|startoftext|>"], "eos_token_id": pieces["<|endoftext|>"], "pad_token_id": 1}
    write_model(folder, "CLIPModel", CLIPConfig(text_config={**layers, **ends}, vision_config={**layers, **sides}))


def _write_tokenizer(folder: Path, sentences: Sequence[str]) -> dict[str, int]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    learnt = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learnt.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [*alphabet, *(f"{one}</w>" for one in alphabet), "<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    learnt.train_from_iterator([one.lower() for one in sentences], trainer)
    model = json.loads(learnt.to_str())["model"]
    merges: Any = [tuple(merge) for merge in model["merges"]]  # annotated as texts, read as pairs
    tokenizer = CLIPTokenizer(model["vocab"], merges, model_max_length=77)
    tokenizer.save_pretrained(folder)
    return dict(model["vocab"])


def sew_d_tiny(folder: Path, *, small: bool = False) -> None:
    """SEW-D-tiny (12 layers, 384 wide, 16,000 samples a second) with a CTC head."""
    from transformers import SEWDConfig, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)  # type: ignore[no-untyped-call]
    Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True).save_pretrained(folder)  # type: ignore[no-untyped-call]
    sizes: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
    config = SEWDConfig(**(SMALL if small else sizes), vocab_size=len(LETTERS), initializer_range=0.05)
    write_model(folder, "SEWDForCTC", config)


def videomae_base(folder: Path, *, small: bool = False) -> None:
    """VideoMAE-base (16 frames of 224 × 224 pixels) with Kinetics-400's number of labels."""
    from transformers import VideoMAEConfig

    folder.mkdir(parents=True)
    look: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "crop": SIDE} if small else {}
    write_image_processor(folder, "VideoMAEImageProcessorPil", **look)
    layers: dict[str, Any] = {**SMALL, "image_size": SIDE} if small else {}
    config = VideoMAEConfig(**layers, **_LABELS)
    write_model(folder, "VideoMAEForVideoClassification", config)
