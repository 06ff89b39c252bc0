"""BERT's tokenizer for architectures of our own: also made of a ``vocab.txt``, as transformers 4 made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import BertTokenizer


class VocabFileTokenizer(BertTokenizer):
    """BERT's tokenizer, given its pieces or the file that lists them, one a line."""

    def __init__(
        self,
        vocab: str | dict[str, int] | None = None,
        do_lower_case: bool = True,
        *,
        vocab_file: str | None = None,
        **settings: Any,  # noqa: ANN401 - those of BertTokenizer
    ) -> None:
        """``vocab`` may be the file as well; ``settings`` are those of BertTokenizer."""
        path = vocab if isinstance(vocab, str) else None if vocab else vocab_file
        if path is not None:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            vocab = {piece: number for number, piece in enumerate(lines)}
        super().__init__(vocab, do_lower_case, **settings)
