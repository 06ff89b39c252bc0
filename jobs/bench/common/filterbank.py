"""A small SEW-D whose first convolution starts as a bank of filters, spaced as ears hear, and is trained from there.

Each band has four filters, a cosine, a sine and both turned over: behind the activation, which lets one side through,
their sum is how loud the band is, whatever its phase. A few hundred recordings teach words, but not what a sound is.
Filters as a start for learned ones: Zeghidour et al. 2018, https://arxiv.org/abs/1711.01161.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import SEWDConfig

RATE = 8000
"""Samples a second."""
BANDS, LOWEST_HZ, HIGHEST_HZ = 40, 80.0, 3800.0
TAPS, STEP = 200, 40
"""Samples of a filter, and from one to the next place where it is heard: 25 and 5 ms."""
SHORTEST_S = 0.003
"""Shortest filter, as its envelope's standard deviation: shorter ones would miss what lies between two places."""
LOUDNESS = 0.5
"""Length of a filter: speech comes out well above the norm's epsilon, the noise of a silent room below."""
LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"EFGHINORSTUVWXZ")
"""What the names of the digits are written with."""


def write_classifier(folder: Path, labels: Sequence[str], *, seed: int = 0) -> None:
    """A checkpoint for audio classification."""
    import torch
    from transformers import SEWDForSequenceClassification, Wav2Vec2FeatureExtractor

    from pipelines.tasks.loading import quiet

    folder.mkdir(parents=True)
    config = _config()
    config.id2label, config.label2id = dict(enumerate(labels)), {label: at for at, label in enumerate(labels)}
    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = SEWDForSequenceClassification(config)
        layers: Any = model.sew_d.feature_extractor.conv_layers
        layers[0].conv.weight.copy_(torch.from_numpy(filters())[:, None])
        _sum_bands(layers[1].conv.weight)
        model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True).save_pretrained(folder)  # type: ignore[no-untyped-call]


def write_listener(folder: Path, classifier: Path, *, seed: int = 0) -> None:
    """A checkpoint for speech recognition that hears as a trained classifier does; what writes is new."""
    import torch
    from transformers import SEWDForCTC, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

    from pipelines.tasks.loading import quiet

    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)  # type: ignore[no-untyped-call]
    Wav2Vec2FeatureExtractor.from_pretrained(classifier).save_pretrained(folder)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        SEWDForCTC.from_pretrained(classifier, local_files_only=True).save_pretrained(folder)


def _config() -> SEWDConfig:
    """Three convolutions to 50 frames a second, four layers, 128 wide."""
    from transformers import SEWDConfig

    return SEWDConfig(
        vocab_size=len(LETTERS),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        initializer_range=0.08,
        max_position_embeddings=128,
        position_buckets=32,
        hidden_act="gelu",
        feat_extract_norm="layer",
        conv_dim=(4 * BANDS, 96, 96),
        conv_kernel=(TAPS, 4, 3),
        conv_stride=(STEP, 2, 2),
        num_conv_pos_embeddings=15,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=128,
        mask_time_prob=0.1,
        mask_time_length=3,
        mask_feature_prob=0.1,
        mask_feature_length=12,
        ctc_zero_infinity=True,
    )


def filters() -> NDArray[np.float32]:
    """(4 · BANDS, TAPS): Gabor filters; first all cosines, then all sines, then both with the other sign."""
    ends = 2595 * np.log10(1 + np.array([LOWEST_HZ, HIGHEST_HZ]) / 700)
    edges_hz = 700 * (10 ** (np.linspace(ends[0], ends[1], BANDS + 2) / 2595) - 1)
    middles, widths = edges_hz[1:-1], (edges_hz[2:] - edges_hz[:-2]) / 2
    time_s = (np.arange(TAPS) - (TAPS - 1) / 2) / RATE
    spread_s = np.maximum(1 / (np.pi * widths), SHORTEST_S)[:, None]
    envelope = np.exp(-0.5 * (time_s / spread_s) ** 2)
    angles = 2 * np.pi * middles[:, None] * time_s
    waves = np.concatenate([envelope * np.cos(angles), envelope * np.sin(angles)])
    waves *= LOUDNESS / np.linalg.norm(waves, axis=1, keepdims=True)
    return np.concatenate([waves, -waves]).astype(np.float32)


def _sum_bands(weight: Any) -> None:  # noqa: ANN401 - a tensor (96, 4 · BANDS, taps); torch is imported late
    """Lets the first BANDS outputs of the second convolution say how loud each band is."""
    weight[:BANDS].zero_()
    for band in range(BANDS):
        weight[band, band::BANDS] = 1 / weight.shape[2]
