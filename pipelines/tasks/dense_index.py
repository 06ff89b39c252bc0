"""Indexing: texts in passages, each as a vector, and a FAISS index of all of them beside the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines.tasks.base_text import TextOptions, text_of
from pipelines.tasks.dense_features import DenseTask
from pipelines.tasks.windows import cut
from pipelines.tasks.words import SubWordTokenizer
from stages.base import Row
from stages.errors import UsageError
from stages.examples import Example, Output
from stages.storage import open_storage
from stages.vectors import Kind, passages_of, renew, update

FOLDER = "index"
"""Where the index lies in the output."""


@dataclass(frozen=True, kw_only=True)
class IndexOptions(TextOptions):
    """Options of indexing."""

    passage_tokens: int = 0
    """longest passage in tokens, special ones included; 0 takes the model's own limit"""
    passage_stride: int = 0
    """tokens that neighbouring passages of a text share"""
    kind: Kind = "auto"
    """flat is exact; ivfpq is small and quick for many, its first 100 scored exactly; auto chooses by their number"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passage_tokens < 0 or self.passage_stride < 0:
            raise UsageError("task.passage_tokens and task.passage_stride must be 0 or more")
        if self.kind not in ("auto", "flat", "ivfpq"):
            raise UsageError(f"task.kind must be auto, flat or ivfpq, not {self.kind!r}")


class DenseIndex(DenseTask):
    """Embeds a corpus passage by passage; the run leaves an index of all current passages in ``OUTPUT/index``."""

    name = "index"
    summary = "texts in passages as vectors, and a search index of them all"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[tuple[str, ...]] = ("passages", "passage_vectors")
    options_type = IndexOptions
    options: IndexOptions

    def load_processor(self) -> None:
        """Loads tokenizer and configuration. Raises UsageError where passages would share all they have."""
        super().load_processor()
        self.sub_words = SubWordTokenizer(self.tokenizer)
        self.room = min(self.options.passage_tokens or self.limit, self.limit) - self.sub_words.single.size
        if self.options.passage_stride >= self.room:
            raise UsageError(f"task.passage_stride must be below the {self.room} tokens of a passage")

    def encode(self, row: Row) -> list[Example]:
        """One example a passage; ``span`` (2,) are its characters in the text."""
        text = text_of(row)
        chars = self.sub_words.text(text).chars
        examples = []
        for start, end in cut(len(chars), self.room, self.options.passage_stride) if len(chars) else []:
            span = int(chars[start, 0]), int(chars[end - 1, 1])
            one = self.dense_example(text[slice(*span)], document=True)
            examples.append(Example(arrays={**one.arrays, "span": np.array(span, np.int32)}, length=one.length))
        return examples

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``passages`` and ``passage_vectors``; both empty for an empty text."""
        text = text_of(row)
        return {
            "passages": [text[slice(*one.arrays["span"].tolist())] for one in examples],
            "passage_vectors": [np.asarray(output["vector"]).tolist() for output in outputs],
        }

    def conclude(self, output: str) -> None:
        """Brings ``OUTPUT/index`` up to date with the rows there."""
        import pyarrow.parquet as pq

        storage = open_storage(output)
        names = [entry.name for entry in storage.list("results/")]

        def tables() -> object:
            for name in names:
                with storage.open_input(name) as file:
                    yield pq.read_table(file, columns=["uri", "page", "passages", "passage_vectors"])

        passages = passages_of(tables())  # type: ignore[arg-type]
        renew(f"{output}/{FOLDER}", passages, checkpoint=self.checkpoint.content, kind=self.options.kind)


def absolute(index: str) -> str:
    """Where an index lies, for a worker too, which stands in another folder; empty stays empty."""
    return index if not index or "://" in index else str(Path(index).resolve())


def index_texts(task: DenseIndex, texts: Sequence[str], folder: Path) -> None:
    """Indexes texts in this process into ``folder/index``: for few of them, without a run."""
    import pyarrow as pa

    from stages.columns import schema
    from stages.errors import Failure
    from stages.predictor import Predictor
    from stages.settings import Predict

    predictor = Predictor(task, Predict(dtype="float32", device="cpu")).open()
    answers = predictor.predict([{"uri": str(number), "text": text} for number, text in enumerate(texts)])
    rows = [
        {"uri": str(number), "page": 1, **answer}
        for number, answer in enumerate(answers)
        if not isinstance(answer, Failure)
    ]
    table = pa.Table.from_pylist(rows, schema(("uri", "page", "passages", "passage_vectors")))
    update(folder / FOLDER, passages_of([table]), checkpoint=task.checkpoint.content, kind=task.options.kind)
