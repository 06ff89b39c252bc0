"""The search index: exact and compressed, renewed without indexing again what it holds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from stages.columns import schema
from stages.errors import UsageError
from stages.vectors import TEXTS, Index, Passages, passages_of, update


def passages(count: int, *, first: int = 0, seed: int = 0, dimension: int = 16) -> Passages:
    """Passages around 20 middles, as embeddings lie."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(20, dimension))
    whole = (middles[rng.integers(20, size=first + count)] + 0.3 * rng.normal(size=(first + count, dimension)))[first:]
    rows = [{"uri": f"doc{n}", "page": 1, "part": 0, "text": f"text {n}"} for n in range(first, first + count)]
    return Passages(texts=pa.Table.from_pylist(rows, TEXTS), vectors=whole.astype(np.float32))


def questions(count: int):
    """Near passages, as questions that have an answer lie."""
    return passages(count, seed=0).vectors + 0.1 * np.random.default_rng(7).normal(size=(count, 16)).astype(np.float32)


def test_a_small_index_is_exact(tmp_path):
    some = passages(300)
    about = update(tmp_path, some, checkpoint="a")
    assert (about.kind, about.passages, about.dimension) == ("flat", 300, 16)
    places, scores = Index(tmp_path).search(questions(9), 5)
    exact = questions(9) @ some.vectors.T
    assert np.array_equal(places, np.argsort(-exact, axis=1)[:, :5])
    assert np.allclose(scores, -np.sort(-exact, axis=1)[:, :5], atol=1e-5)
    assert Index(tmp_path).hit(int(places[0, 0]), 1.0) == {
        "uri": f"doc{places[0, 0]}",
        "text": f"text {places[0, 0]}",
        "score": 1.0,
    }


def test_a_compressed_index_finds_what_an_exact_one_finds(tmp_path):
    some = passages(3000)
    update(tmp_path, some, checkpoint="a", kind="ivfpq")
    places, scores = Index(tmp_path).search(questions(50), 10)
    exact = questions(50) @ some.vectors.T
    best = np.argsort(-exact, axis=1)[:, :10]
    recall = np.mean(
        [len(set(one) & set(other)) / 10 for one, other in zip(places.tolist(), best.tolist(), strict=True)]
    )
    assert recall > 0.95
    assert np.allclose(scores, np.take_along_axis(exact, places, 1), atol=1e-4), "scores are exact"


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_an_index_is_renewed_in_place(tmp_path, kind):
    both, new = passages(1000), passages(900, first=100)
    update(tmp_path, Passages(texts=both.texts.slice(0, 800), vectors=both.vectors[:800]), checkpoint="a", kind=kind)
    before = (tmp_path / "vectors.f32").read_bytes()
    about = update(tmp_path, new, checkpoint="a", kind=kind)
    assert about.passages == 900
    assert (tmp_path / "vectors.f32").read_bytes().startswith(before), "what was there is not written anew"
    found = Index(tmp_path)
    places, _ = found.search(questions(20), 10)
    texts = {found.hit(int(place), 0.0)["text"] for row in places for place in row}
    assert texts <= set(new.texts["text"].to_pylist())
    if kind == "flat":
        exact = np.argsort(-(questions(20) @ new.vectors.T), axis=1)[:, 0]
        assert [found.hit(int(row[0]), 0.0)["uri"] for row in places] == [f"doc{100 + n}" for n in exact]


def test_another_checkpoint_makes_the_index_anew(tmp_path):
    update(tmp_path, passages(50), checkpoint="a")
    assert update(tmp_path, passages(20, seed=3), checkpoint="b").passages == 20


def test_too_few_passages_to_compress_are_refused(tmp_path):
    with pytest.raises(UsageError, match="256 passages or more; there are 20"):
        update(tmp_path, passages(20), checkpoint="a", kind="ivfpq")


def test_an_index_of_another_model_is_refused(tmp_path):
    update(tmp_path, passages(20), checkpoint="a")
    found = Index(tmp_path)
    found.check(checkpoint="a", dimension=16, folder="here")
    with pytest.raises(UsageError, match="made with another checkpoint"):
        found.check(checkpoint="b", dimension=16, folder="here")
    with pytest.raises(UsageError, match="holds 16 numbers a passage, the checkpoint makes 8"):
        found.check(checkpoint="a", dimension=8, folder="here")
    with pytest.raises(UsageError, match="no index at"):
        Index(tmp_path / "nothing")


def test_rows_become_passages():
    rows = [
        {"uri": "a", "page": 1, "passages": ["one", "two"], "passage_vectors": [[1.0, 2.0], [3.0, 4.0]]},
        {"uri": "b", "page": 1, "passages": [], "passage_vectors": []},
        {"uri": "c", "page": 2, "passages": ["three"], "passage_vectors": [[5.0, 6.0]]},
    ]
    table = pa.Table.from_pylist(rows, schema(("uri", "page", "passages", "passage_vectors")))
    found = passages_of([table, table.slice(1, 1)])
    assert [tuple(row.values()) for row in found.texts.to_pylist()] == [
        ("a", 1, 0, "one"),
        ("a", 1, 1, "two"),
        ("c", 2, 0, "three"),
    ]
    assert found.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(UsageError, match="no passages"):
        passages_of([table.slice(1, 1)])
