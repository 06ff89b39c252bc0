"""Shapes and colours: a dual encoder learns from captions, and names combinations that it never saw.

An image tower and a text tower, both small and random, learn from images of one shape each and sentences about them,
with two workers: each sets its images against the sentences of both. A quarter of all combinations of shape and colour
is left out of the training; an image of one of them is to be told from all combinations there are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jobs.bench.common.ask import Ask
from jobs.bench.common.lessons import Lesson, share_right
from jobs.bench.common.machine import versions
from jobs.bench.common.report import Check, Report, Table
from jobs.bench.common.wordlist import write_word_tokenizer
from jobs.bench.made.shapes import COLOURS, SHAPES, SIDE, Figure, figures, names, png, repainted, reshaped
from stages.base import Row

ROWS, TEST_ROWS = 12_000, 320
LESSON = Lesson(
    family="vision_text_dual_encoder",
    task="features",
    settings={
        "train.epochs": "20",
        "train.learning_rate": "1e-3",
        "train.token_budget": "600",
        "train.schedule": "cosine",
    },
    workers=2,
)
TEMPLATE = "a {}"
BOTH, SHAPE, COLOUR = "a {colour} {shape}", "a {shape}", "something {colour}"
CAPTIONS = (BOTH, SHAPE, SHAPE, COLOUR)
"""What captions say of an image: both, or one of the two, as people's captions do; shapes, the harder ones, more often.
Were both always said, or each shape always in its six colours, the towers would learn pairs by heart (measured: 0.3 of
unseen combinations right). So where a shape alone is said it comes in any paint, and a colour alone on any outline."""


def measure(ask: Ask) -> Report:
    """Zero-shot accuracy on combinations that were left out, and on others."""
    ask.refuse_data("shapes")
    rows, judged = (24, 4) if ask.quick else (ROWS, TEST_ROWS)
    lesson = LESSON.quick() if ask.quick else LESSON
    seen, unseen = (names(held_out=held_out) for held_out in (False, True))
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as folder:
        scratch = Path(folder)
        write_towers(scratch / "start")
        record = lesson.learn(scratch / "start", captioned(rows, seen, seed=1), scratch / "learn")
        accuracy = {
            name: _accuracy(lesson, record.model, figures(judged, some, seed=2), scratch / name)
            for name, some in (("seen", seen), ("unseen", unseen))
        }
    table = Table(
        title=f"Which of {len(seen) + len(unseen)} combinations an image shows",
        columns=("combinations", "how many", "images", "accuracy"),
        rows=(
            ("in the training", len(seen), judged, accuracy["seen"]),
            ("left out", len(unseen), judged, accuracy["unseen"]),
        ),
    )
    checks = (Check(what="zero-shot accuracy on unseen combinations", figure=accuracy["unseen"], mark=0.9, unit=""),)
    return Report(
        bench="shapes",
        title="a dual encoder on shapes and colours",
        command=ask.command("shapes"),
        tables=(table,),
        checks=() if ask.quick else checks,
        notes=(
            f"{rows:,} images of {SIDE}² pixels with captions such as {_examples()}; {lesson.workers} workers, "
            f"{record.seconds['loop'] / 60:.1f} minutes in the loop, {record.steps} steps, loss {record.loss:.3g}",
            f"towers of 4 and 2 layers, 128 wide, random; {lesson.told()}",
        ),
        versions=versions("torch", "transformers", "ray"),
    )


def captioned(count: int, combinations: list[tuple[str, str]], seed: int) -> list[Row]:
    """Rows ``image`` and ``text``; size and ground are for the towers to overlook."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for one in figures(count, combinations, seed):
        said = random.choice(CAPTIONS)
        shown = one
        if said == SHAPE:
            shown = repainted(one, combinations, random)
        elif said == COLOUR:
            shown = reshaped(one, random)
        rows.append({"image": png(shown, random), "text": _filled(said, one)})
    return rows


def _accuracy(lesson: Lesson, model: str, shown: list[Figure], output: Path) -> float:
    random = np.random.default_rng(3)
    labels = [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS]
    answers = lesson.answer(
        model,
        [{"image": png(one, random)} for one in shown],
        output,
        task="zero-shot-image-classification",
        options={"candidate_labels": labels, "hypothesis_template": TEMPLATE, "top_k": 1},
    )
    return share_right(answers, [one.name for one in shown])


def write_towers(folder: Path) -> None:
    """The checkpoint that training starts from: a ViT and a BERT."""
    from transformers import BertConfig, VisionTextDualEncoderConfig, ViTConfig

    from pipelines.tasks.tiny import write_image_processor, write_model

    folder.mkdir(parents=True)
    words = ("a", "something", *SHAPES, *COLOURS)
    pieces = write_word_tokenizer(folder, words, max_length=16)
    write_image_processor(folder, "ViTImageProcessorPil", size={"height": SIDE, "width": SIDE})
    layers: dict[str, Any] = {
        "hidden_size": 128,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "initializer_range": 0.08,
    }
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**layers, num_hidden_layers=4, image_size=SIDE, patch_size=8),
        BertConfig(**layers, num_hidden_layers=2, vocab_size=pieces, max_position_embeddings=16),
        projection_dim=64,
    )
    write_model(folder, "VisionTextDualEncoderModel", config)


def _examples() -> str:
    [one] = figures(1, names(held_out=False), seed=1)
    return ", ".join(repr(_filled(said, one)) for said in (BOTH, SHAPE, COLOUR))


def _filled(caption: str, figure: Figure) -> str:
    return caption.format(colour=figure.colour, shape=figure.shape)
