"""A search index beside vectors in Parquet: FAISS, exact for few, compressed and re-ranked for many.

    FOLDER/index.json      what it is: dimension, kind, the checkpoint that made the vectors
    FOLDER/index.faiss     the index; its ids are places in the other two
    FOLDER/texts.parquet   uri, page, text of each passage
    FOLDER/vectors.f32     the vectors (float32, row after row), for exact scores of what a compressed index finds

Scores are inner products. ``update`` adds what is new and drops what is gone; the places of a dropped passage stay
empty until the next index that is made anew.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.base import Row
from stages.errors import UsageError
from stages.storage import open_storage

Floats = NDArray[np.float32]
Kind = Literal["auto", "flat", "ivfpq"]

FLAT_UP_TO = 50_000
"""Passages up to which an exact index is made where ``auto`` chooses (128 wide: 25 MB, 3 ms a question on 2 cores)."""
SAMPLE = 100
"""Vectors a list that a compressed index is trained on; more change its recall little."""
LEAST = 256
"""Vectors that a compressed index needs at least: one for each of a byte's values."""
RERANKED = 100
"""What a compressed index finds first, to be scored exactly."""
TEXTS = pa.schema([("uri", pa.string()), ("page", pa.int32()), ("part", pa.int32()), ("text", pa.string())])
FILES = ("index.json", "index.faiss", "texts.parquet", "vectors.f32")


@dataclass(frozen=True, kw_only=True)
class About:
    """What ``index.json`` says."""

    kind: str
    dimension: int
    passages: int
    checkpoint: str
    """Content hash of the checkpoint that made the vectors."""
    content: str
    """sha256 of ``index.faiss``: another one gives other answers."""


@dataclass(frozen=True, kw_only=True)
class Passages:
    """Passages and their vectors (n, dimension), row by row."""

    texts: pa.Table
    vectors: Floats


class Index:
    """An index that was loaded: ``search`` gives the best passages for question vectors."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where there is none."""
        import faiss

        self.about = about(str(folder))
        self.faiss: Any = faiss.read_index(str(folder / "index.faiss"))
        self.texts = pq.read_table(folder / "texts.parquet", memory_map=True)
        self.vectors: Floats = np.memmap(folder / "vectors.f32", np.float32, "r").reshape(-1, self.about.dimension)

    def check(self, *, checkpoint: str, dimension: int, folder: str) -> None:
        """Raises UsageError for an index of another model, or of another dimension."""
        if self.about.dimension != dimension:
            what = f"{self.about.dimension} numbers a passage, the checkpoint makes {dimension}"
            raise UsageError(f"the index at {folder} holds {what}: index the corpus again with this checkpoint")
        if checkpoint and self.about.checkpoint and self.about.checkpoint != checkpoint:
            raise UsageError(f"the index at {folder} was made with another checkpoint: index the corpus again")

    def search(self, questions: Floats, top_k: int) -> tuple[NDArray[np.int64], Floats]:
        """Places (n, top_k) of the best passages, -1 where there are fewer, and their scores."""
        if self.about.kind == "flat":
            scores, places = self.faiss.search(np.ascontiguousarray(questions, np.float32), top_k)
            return places, scores
        _, found = self.faiss.search(np.ascontiguousarray(questions, np.float32), max(RERANKED, top_k))
        pairs = zip(questions, found, strict=True)
        ranked = [self._exact(question, places[places >= 0], top_k) for question, places in pairs]
        return np.stack([places for places, _ in ranked]), np.stack([scores for _, scores in ranked])

    def _exact(self, question: Floats, places: NDArray[np.int64], top_k: int) -> tuple[NDArray[np.int64], Floats]:
        scores = np.asarray(self.vectors[places] @ question, np.float32)
        best = np.argsort(-scores, kind="stable")[:top_k]
        kept = np.full(top_k, -1, np.int64), np.full(top_k, -np.inf, np.float32)
        kept[0][: len(best)], kept[1][: len(best)] = places[best], scores[best]
        return kept

    def hit(self, place: int, score: float) -> Row:
        """The passage at a place, as an answer tells it."""
        row = self.texts.slice(place, 1).to_pylist()[0]
        return {"uri": row["uri"], "text": row["text"], "score": score}


def update(folder: Path, passages: Passages, *, checkpoint: str, kind: Kind = "auto") -> About:
    """Makes or renews the index of exactly these passages. What it holds already is not indexed again."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = kind if kind != "auto" else ("flat" if passages.texts.num_rows <= FLAT_UP_TO else "ivfpq")
    old = _reusable(folder, checkpoint, passages.vectors.shape[1], wanted)
    if old is None:
        index, texts, vectors = _new(passages.vectors, wanted), passages.texts, passages.vectors
        index.add_with_ids(vectors, np.arange(len(vectors)))
    else:
        index = old.faiss
        texts, vectors = _renew(old, passages)
    dimension, count = int(vectors.shape[1]), int(index.ntotal)
    return _write(
        folder,
        index,
        texts,
        vectors,
        {"kind": wanted, "dimension": dimension, "passages": count, "checkpoint": checkpoint},
    )


def about(uri: str) -> About:
    """What the index in a folder, local or s3://, is. Raises UsageError where there is none."""
    try:
        told = open_storage(uri).read("index.json")
    except FileNotFoundError as error:
        message = f"no index at {uri}: make one with manta run FAMILY --task index --output …"
        raise UsageError(message) from error
    return About(**json.loads(told))


def load(uri: str) -> Index:
    """The index in a folder, local or s3:// (then copied here first). Raises UsageError where there is none."""
    if "://" not in uri:
        return Index(Path(uri))
    with tempfile.TemporaryDirectory(prefix="index-") as folder:  # what is mapped into memory outlives its name
        _fetch(uri, Path(folder))
        return Index(Path(folder))


def renew(uri: str, passages: Passages, *, checkpoint: str, kind: Kind = "auto") -> About:
    """``update`` for a folder that is local or s3://."""
    if "://" not in uri:
        return update(Path(uri), passages, checkpoint=checkpoint, kind=kind)
    storage = open_storage(uri)
    with tempfile.TemporaryDirectory(prefix="index-") as folder:
        _fetch(uri, Path(folder))
        found = update(Path(folder), passages, checkpoint=checkpoint, kind=kind)
        for name in reversed(FILES):
            storage.put(name, Path(folder, name).read_bytes())
    return found


def _fetch(uri: str, folder: Path) -> None:
    storage = open_storage(uri)
    try:
        for name in FILES:
            (folder / name).write_bytes(storage.read(name))
    except FileNotFoundError:
        (folder / "index.json").unlink(missing_ok=True)


def _reusable(folder: Path, checkpoint: str, dimension: int, kind: str) -> Index | None:
    if not (folder / "index.json").is_file():
        return None
    old = Index(folder)
    same = (old.about.checkpoint, old.about.dimension, old.about.kind) == (checkpoint, dimension, kind)
    return old if same else None


def _renew(old: Index, new: Passages) -> tuple[pa.Table, Floats]:
    """Drops from the index what is gone, adds what is new; texts and vectors with the places that it has now."""
    index = old.faiss
    before, after = _keys(old.texts), _keys(new.texts)
    live = {key: place for place, key in enumerate(before) if key is not None}
    kept = set(after)
    gone = [place for key, place in live.items() if key not in kept]
    if gone:
        index.remove_ids(np.array(gone, np.int64))
    fresh = [n for n, key in enumerate(after) if key not in live]
    places = np.arange(len(before), len(before) + len(fresh))
    if fresh:
        index.add_with_ids(np.ascontiguousarray(new.vectors[fresh]), places)
    texts = pa.concat_tables([_emptied(old.texts, gone), new.texts.take(pa.array(fresh, pa.int64()))])
    return texts, np.concatenate([np.asarray(old.vectors), new.vectors[fresh]])


def _keys(texts: pa.Table) -> list[tuple[object, ...] | None]:
    """What tells passages apart; None for a place that is empty."""
    rows = zip(*(texts[name].to_pylist() for name in TEXTS.names), strict=True)
    return [None if row[0] is None else row for row in rows]


def _emptied(texts: pa.Table, places: Sequence[int]) -> pa.Table:
    keep = np.ones(texts.num_rows, bool)
    keep[list(places)] = False
    mask = pa.array(keep)
    return pa.table([pc.if_else(mask, texts[name], None) for name in TEXTS.names], schema=TEXTS)


def _new(vectors: Floats, kind: str) -> Any:  # noqa: ANN401 - faiss is untyped
    """An empty index, trained on a sample where it compresses."""
    import faiss

    count, dimension = vectors.shape
    if kind == "flat":
        return faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    if count < LEAST:
        raise UsageError(
            f"a compressed index learns from {LEAST} passages or more; there are {count}: take task.kind=flat"
        )
    lists = max(1, min(int(4 * np.sqrt(count)), count // 39))  # fewer than 39 vectors a list train it badly
    parts = next(n for n in (64, 48, 32, 24, 16, 12, 8, 4, 2, 1) if dimension % n == 0 and dimension // n >= 2)
    # "np": no polysemous training, which serves a search by Hamming distance that nobody asks for (measured: of 64
    # parts it takes 100 s of CPU, the rest of training on 400 vectors 0.1 s).
    index = faiss.index_factory(dimension, f"IVF{lists},PQ{parts}np", faiss.METRIC_INNER_PRODUCT)
    some = np.random.default_rng(0).permutation(count)[: max(lists * SAMPLE, 10_000)]
    index.train(np.ascontiguousarray(vectors[np.sort(some)]))
    index.nprobe = min(lists, max(32, lists // 8))  # type: ignore[attr-defined]
    return index


def _write(folder: Path, index: Any, texts: pa.Table, vectors: Floats, told: dict[str, Any]) -> About:  # noqa: ANN401
    """Each file aside, then renamed; ``index.json`` last."""
    import faiss

    faiss.write_index(index, str(folder / ".index.faiss"))
    with (folder / ".index.faiss").open("rb") as file:
        found = About(content=hashlib.file_digest(file, "sha256").hexdigest(), **told)
    pq.write_table(texts, folder / ".texts.parquet", compression="none")
    np.ascontiguousarray(vectors, np.float32).tofile(folder / ".vectors.f32")
    (folder / ".index.json").write_text(json.dumps(asdict(found)), encoding="utf-8")
    for name in reversed(FILES):
        (folder / f".{name}").replace(folder / name)
    return found


def passages_of(tables: Iterable[pa.Table]) -> Passages:
    """Passages of result rows: ``uri``, ``page``, ``passages`` and ``passage_vectors``. Raises UsageError for none."""
    texts, vectors = [TEXTS.empty_table()], []
    for table in tables:
        passages, embedded = (table[name].combine_chunks() for name in ("passages", "passage_vectors"))
        row = pc.list_parent_indices(passages)
        counts = pc.list_value_length(passages).fill_null(0).to_numpy(zero_copy_only=False)
        part = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0)
        columns = [table["uri"].take(row), table["page"].take(row), pa.array(part, pa.int32()), passages.flatten()]
        texts.append(pa.table(columns, schema=TEXTS))
        numbers = embedded.flatten().flatten().to_numpy(zero_copy_only=False)
        vectors.append(np.asarray(numbers, np.float32).reshape(len(row), -1) if len(row) else None)
    there = [each for each in vectors if each is not None]
    if not there:
        raise UsageError("there are no passages to index: every row failed, or all texts are empty")
    return Passages(texts=pa.concat_tables(texts).combine_chunks(), vectors=np.concatenate(there))
