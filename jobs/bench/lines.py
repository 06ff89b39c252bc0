"""Lines and captions: an encoder-decoder learns to read printed lines, GIT to say what an image shows.

Both are small, start random and learn from images that the bench draws. Judged are images that they never saw: lines
of other words and numbers, and combinations of shape and colour that were left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.bench.common.ask import Ask
from jobs.bench.common.lessons import Lesson
from jobs.bench.common.machine import versions
from jobs.bench.common.report import Cell, Check, Report, Table
from jobs.bench.common.wordlist import write_word_tokenizer
from jobs.bench.made import lines, shapes
from jobs.bench.made.shapes import COLOURS, GROUNDS, SHAPES, SIDE, SIZES, figures, names
from pipelines.tasks.error_rates import error_rates
from stages.base import Row

if TYPE_CHECKING:
    from jobs.train import TrainRecord

LINES, CAPTIONS, TEST_ROWS = 24_000, 3000, 200
TOKENS = 16
"""Most tokens of a caption, the end counted."""
READ = Lesson(
    family="vision_encoder_decoder",
    task="text-recognition",
    settings={
        "train.epochs": "6",
        "train.learning_rate": "1e-3",
        "train.token_budget": "500",
        "train.schedule": "cosine",
    },
    workers=2,
)
TELL = Lesson(
    family="git",
    task="image-captioning",
    settings={
        "train.epochs": "15",
        "train.learning_rate": "1e-3",
        "train.token_budget": "800",
        "train.schedule": "cosine",
    },
    workers=2,
)


def measure(ask: Ask) -> Report:
    """Word and character error rates on unseen images."""
    ask.refuse_data("lines")
    sizes = (16, 16, 4) if ask.quick else (LINES, CAPTIONS, TEST_ROWS)
    read, say = (one.quick() if ask.quick else one for one in (READ, TELL))
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        write_reader(scratch / "reader")
        write_teller(scratch / "teller")
        found = {
            "printed lines": _learned(
                read, scratch / "reader", printed(sizes[0], 1), printed(sizes[2], 2), scratch / "l"
            ),
            "captions of shapes": _learned(
                say,
                scratch / "teller",
                captioned(sizes[1], names(held_out=False), 1),
                captioned(sizes[2], names(held_out=True), 2),
                scratch / "c",
            ),
        }
    rows: list[tuple[Cell, ...]] = [
        (name, record.rows, len(texts), rates["wer"], rates["cer"], record.seconds["loop"] / 60)
        for name, (record, rates, texts) in found.items()
    ]
    columns = ("what", "images to learn from", "unseen images", "word error rate", "character error rate", "minutes")
    check = Check(
        what="word error rate of printed lines",
        figure=found["printed lines"][1]["wer"],
        mark=0.2,
        at_least=False,
        unit="",
    )
    return Report(
        bench="lines",
        title="printed lines and captions",
        command=ask.command("lines"),
        tables=(Table(title="Unseen images", columns=columns, rows=tuple(rows)),),
        checks=() if ask.quick else (check,),
        notes=(
            f"lines such as {found['printed lines'][2][0]!r}, {lines.WIDTH} × {lines.HEIGHT} pixels: ViT of 4 layers "
            f"over columns of 8 pixels, GPT-2 of 2 that writes characters, 128 wide; {read.told()}; "
            f"{read.workers} workers",
            f"captions such as {found['captions of shapes'][2][0]!r}, {SIDE}² pixels, of combinations that were left "
            f"out: GIT of 4 and 2 layers, 128 wide; {say.told()}; {say.workers} workers",
        ),
        versions=versions("torch", "transformers", "ray", "jiwer"),
    )


def _learned(
    lesson: Lesson, start: Path, rows: Sequence[Row], unseen: Sequence[Row], scratch: Path
) -> tuple[TrainRecord, dict[str, float], list[str]]:
    """The training, how it does on unseen images, and their texts."""
    record = lesson.learn(start, rows, scratch / "learn")
    answers = lesson.answer(record.model, [{"image": row["image"]} for row in unseen], scratch / "answer")
    right = [str(row["text"]) for row in unseen]
    return record, error_rates(right, [str(one["text"]) for one in answers]), right


def printed(count: int, seed: int) -> list[Row]:
    """Rows ``image`` and ``text`` of printed lines."""
    random = np.random.default_rng(seed)
    texts = [lines.line(random) for _ in range(count)]
    return [{"image": lines.png(text, random), "text": text} for text in texts]


def captioned(count: int, combinations: Sequence[tuple[str, str]], seed: int) -> list[Row]:
    """Rows ``image`` and ``text`` of shapes with their captions."""
    random = np.random.default_rng(seed)
    return [{"image": shapes.png(one, random), "text": one.caption} for one in figures(count, combinations, seed)]


_LAYERS: dict[str, Any] = {
    "hidden_size": 128,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "initializer_range": 0.08,
}


def write_reader(folder: Path) -> None:
    """A ViT that looks at columns of a line, and a GPT-2 that writes, character by character.

    Paper is made 0 and ink far from it, and weights are drawn wide, so that columns differ from the first step on: of
    single words a two-minute trial read 0.81 wrong with the usual numbers (0.5, 0.5 and 0.02), 0.74 with this mean and
    deviation alone, 0.21 with both.
    """
    from transformers import GPT2Config, VisionEncoderDecoderConfig, ViTConfig

    from pipelines.tasks.tiny import SPECIAL, write_image_processor, write_model

    folder.mkdir(parents=True)
    tokens = lines.LONGEST + 1
    pieces = write_word_tokenizer(folder, (), max_length=tokens)
    size = {"height": lines.HEIGHT, "width": lines.WIDTH}
    write_image_processor(folder, "ViTImageProcessorPil", size=size, normal=(0.89, 0.25))
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**_LAYERS, num_hidden_layers=4, image_size=(lines.HEIGHT, lines.WIDTH), patch_size=(lines.HEIGHT, 8)),
        GPT2Config(vocab_size=pieces, n_positions=tokens + 8, n_embd=128, n_layer=2, n_head=4, initializer_range=0.08),
        pad_token_id=SPECIAL.index("[PAD]"),
        decoder_start_token_id=SPECIAL.index("[CLS]"),
        eos_token_id=SPECIAL.index("[SEP]"),
    )
    write_model(folder, "VisionEncoderDecoderModel", config, max_new_tokens=tokens)


def write_teller(folder: Path) -> None:
    """A GIT."""
    from transformers import GitConfig

    from pipelines.tasks.tiny import SPECIAL, write_image_processor, write_model

    folder.mkdir(parents=True)
    words = ("a", "on", "ground", *SHAPES, *COLOURS, *GROUNDS, *SIZES)
    pieces = write_word_tokenizer(folder, words, max_length=TOKENS)
    write_image_processor(folder, "CLIPImageProcessorPil", size={"shortest_edge": SIDE}, crop=SIDE)
    config = GitConfig(
        **_LAYERS,
        num_hidden_layers=2,
        vision_config={**_LAYERS, "num_hidden_layers": 4, "image_size": SIDE, "patch_size": 8},
        vocab_size=pieces,
        max_position_embeddings=TOKENS + 8,
        pad_token_id=SPECIAL.index("[PAD]"),
        bos_token_id=SPECIAL.index("[CLS]"),
        eos_token_id=SPECIAL.index("[SEP]"),
    )
    write_model(folder, "GitForCausalLM", config, max_new_tokens=TOKENS)
