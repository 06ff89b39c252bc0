"""A tokenizer that knows a bench's own words, whole, and digits one by one."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

from pipelines.tasks.tiny import SPECIAL


def write_word_tokenizer(folder: Path, words: Sequence[str], *, max_length: int) -> int:
    """A WordPiece tokenizer of these words, letters and digits; returns how many pieces it has."""
    from transformers import BertTokenizer

    characters = string.ascii_lowercase + string.digits
    pieces = dict.fromkeys([*SPECIAL, *characters, *(f"##{each}" for each in characters), *words])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    BertTokenizer(vocabulary, model_max_length=max_length).save_pretrained(folder)
    return len(vocabulary)
