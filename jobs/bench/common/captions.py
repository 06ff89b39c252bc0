"""English and German captions, as Multi30k has them, and an untrained T5 with a vocabulary made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from stages.errors import UsageError

SOURCE, TARGET = "en", "de"
TRAINING, VALIDATION = "train.en-de.jsonl", "val.en-de.jsonl"
Pairs: TypeAlias = list[tuple[str, str]]
"""Captions with their translations."""
LONGEST = 128
"""Tokens of the longest caption that the model takes."""
WRITTEN = 60
"""Most tokens of a translation."""


def read_pairs(folder: Path | None) -> tuple[Pairs, Pairs]:
    """Captions for training and for validation. Raises UsageError that names what is missing or wrong."""
    if folder is None:
        raise UsageError(f"bench translation needs captions: --data FOLDER with {TRAINING} and {VALIDATION}")
    return _read(folder / TRAINING), _read(folder / VALIDATION)


def _read(file: Path) -> Pairs:
    if not file.is_file():
        raise UsageError(f"no {file.name} in {file.parent}: a JSON object a line with {SOURCE} and {TARGET}")
    found = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        try:
            pair = json.loads(line)
            found.append((str(pair[SOURCE]), str(pair[TARGET])))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file}, line {number}: {type(error).__name__}: {error}") from error
    return found


def write_pairs(pairs: Pairs, file: Path) -> str:
    """A table with the columns that training reads; returns its path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, translations = zip(*pairs, strict=True)
    pq.write_table(pa.table({"text": texts, "translation": translations}), file)
    return str(file)


def write_untrained(folder: Path, pairs: Sequence[tuple[str, str]], *, pieces: int, sizes: dict[str, int]) -> None:
    """A T5 with random weights whose pieces are learnt of both languages; nothing stands before a text."""
    from transformers import T5Config, T5Tokenizer

    from pipelines.tasks.tiny import write_model

    folder.mkdir(parents=True)
    vocabulary = _pieces((text for pair in pairs for text in pair), pieces)
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, additional_special_tokens=[], model_max_length=LONGEST)
    tokenizer.save_pretrained(folder)
    told: dict[str, Any] = {
        "decoder_start_token_id": 0,
        "task_specific_params": {f"translation_{SOURCE}_to_{TARGET}": {"prefix": ""}},
        **sizes,
    }
    config = T5Config(vocab_size=len(tokenizer), initializer_factor=0.5, **told)
    write_model(folder, "T5ForConditionalGeneration", config, max_new_tokens=WRITTEN)


def _pieces(texts: Iterable[str], count: int) -> list[tuple[str, float]]:
    """Pieces with their log probabilities (Kudo 2018, https://arxiv.org/abs/1804.10959), special ones first."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learnt = Tokenizer(models.Unigram())
    learnt.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ("<pad>", "</s>", "<unk>")
    trainer = trainers.UnigramTrainer(
        vocab_size=count, special_tokens=list(special), unk_token=special[2], show_progress=False
    )
    learnt.train_from_iterator(texts, trainer)
    return [(piece, score) for piece, score in json.loads(learnt.to_str())["model"]["vocab"]]
