"""REALM's evidence: blocks of text, fetched by number, joined with the question, searched for its answers."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy

from stages.errors import UsageError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import BatchEncoding

    from pipelines.realm.settings import RealmTokenizer

PARQUET, NPY = "block_records.parquet", "block_records.npy"
"""The blocks beside a checkpoint: a table with a column ``text``, or numpy's pickled array of bytes."""
Places = list[list[int]]


@dataclass(frozen=True)
class Retrieved:
    """Blocks joined with a question, and where answers stand in them."""

    has_answers: list[bool] | None
    start_positions: Places | None
    end_positions: Places | None
    inputs: BatchEncoding

    def __iter__(self) -> Any:  # noqa: ANN401 - unpacks as the tuple that transformers 4 gave
        return iter((self.has_answers, self.start_positions, self.end_positions, self.inputs))

    def positions(self, device: torch.device) -> dict[str, torch.Tensor]:
        """What the reader takes besides; empty where no answers were given."""
        import torch

        if self.has_answers is None:
            return {}
        return {
            "has_answers": torch.tensor(self.has_answers, dtype=torch.bool, device=device),
            "start_positions": torch.tensor(self.start_positions, dtype=torch.long, device=device),
            "end_positions": torch.tensor(self.end_positions, dtype=torch.long, device=device),
        }


class RealmRetriever:
    """Evidence texts and the tokenizer that joins them with questions."""

    def __init__(self, block_records: NDArray[np.object_] | Sequence[bytes | str], tokenizer: RealmTokenizer) -> None:
        self.block_records, self.tokenizer = block_records, tokenizer

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The blocks and the tokenizer in a local folder."""
        from pipelines.realm.settings import RealmTokenizer

        return cls(load_blocks(Path(folder)), RealmTokenizer.from_pretrained(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the blocks as Parquet, and the tokenizer."""
        save_blocks([_text(block) for block in self.block_records], Path(folder))
        self.tokenizer.save_pretrained(folder)

    def __call__(
        self,
        retrieved_block_ids: torch.Tensor | Sequence[int],
        question_input_ids: torch.Tensor,
        answer_ids: Sequence[Sequence[int]] | None,
        max_length: int | None = None,
        return_tensors: str = "pt",
    ) -> Retrieved:
        """The blocks of these numbers, each behind the question (1, L), padded; longer pairs are cut."""
        blocks = [_text(self.block_records[int(number)]) for number in retrieved_block_ids]
        question = str(self.tokenizer.decode(question_input_ids[0], skip_special_tokens=True))
        joined = self.tokenizer(
            [question] * len(blocks),
            blocks,
            padding=True,
            truncation=True,
            return_special_tokens_mask=True,
            max_length=max_length,
        )
        has, starts, ends = (None, None, None) if answer_ids is None else self.block_has_answer(joined, answer_ids)
        return Retrieved(has, starts, ends, joined.convert_to_tensors(return_tensors))

    def block_has_answer(
        self, concat_inputs: BatchEncoding, answer_ids: Sequence[Sequence[int]]
    ) -> tuple[list[bool], Places, Places]:
        """For each block whether an answer begins in it, and first and last tokens of all of them, padded with -1.

        Raises ValueError for tokens without two separators.
        """
        wanted = [[int(token) for token in answer] for answer in answer_ids]
        separator = self.tokenizer.sep_token_id
        starts: Places = []
        ends: Places = []
        for row in concat_inputs["input_ids"]:
            ids = [int(token) for token in row]
            marks = [place for place, token in enumerate(ids) if token == separator]
            if len(marks) < 2:
                raise ValueError("a question and a block are told apart by two separators; there are fewer")
            block = range(marks[0] + 1, marks[1])
            found = [
                (at, at + len(one) - 1) for one in wanted for at in block if one and ids[at : at + len(one)] == one
            ]
            starts.append([first for first, _ in found])
            ends.append([last for _, last in found])
        most = max(map(len, starts))
        has = [bool(places) for places in starts]
        first, last = ([places + [-1] * (most - len(places)) for places in each] for each in (starts, ends))
        return has, first, last


def load_blocks(folder: Path) -> Sequence[str]:
    """The evidence texts in a folder. Raises UsageError where there are none."""
    texts: list[str] = []
    if (folder / PARQUET).is_file():
        texts = pq.read_table(folder / PARQUET, columns=["text"])["text"].to_pylist()
    elif (folder / NPY).is_file():
        texts = [_text(block) for block in load_npy(folder / NPY)]
    else:
        raise UsageError(f"no evidence at {folder}: it holds neither {PARQUET} nor {NPY}")
    if not texts:
        raise UsageError(f"no evidence at {folder}: its table of blocks is empty")
    return texts


def save_blocks(texts: Sequence[str], folder: Path) -> None:
    """Writes the evidence texts as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / PARQUET, compression="zstd")


def load_npy(path: Path) -> list[bytes]:
    """Byte strings of numpy's pickled array, without running anything that a pickle might name.

    Raises UsageError where it holds something else.
    """
    with path.open("rb") as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        try:
            found = _Bytes(io.BytesIO(file.read())).load() if dtype.hasobject else None
        except (pickle.UnpicklingError, AttributeError, TypeError, ValueError, EOFError) as error:
            raise UsageError(f"{path} is no array of byte strings: {error}") from error
    flat = found.reshape(-1).tolist() if isinstance(found, np.ndarray) else None
    if flat is None or len(flat) != int(np.prod(shape)) or not all(isinstance(one, bytes) for one in flat):
        raise UsageError(f"{path} is no array of byte strings")
    return flat


class _Bytes(pickle.Unpickler):
    """Admits what numpy needs for an array of bytes, and no other name."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """The class, or UnpicklingError."""
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) in {("__builtin__", "bytes"), ("builtins", "bytes")}:
            return _empty
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")} or (
            module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct"
        ):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is refused")


def _latin1(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _empty() -> bytes:
    """How pickles of protocol 2 write no bytes at all; nothing is passed to it."""
    return b""


def _text(block: bytes | str) -> str:
    return block.decode("utf-8") if isinstance(block, bytes) else str(block)
