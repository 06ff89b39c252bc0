"""Dense retrieval: SQuAD's questions among its paragraphs, and exact search beside a compressed index of many texts.

The encoder is all-MiniLM-L6-v2's in RetriBERT's frame, as it is: nothing is trained. ``--data FOLDER`` holds SQuAD's
JSON (there, or in ``squad/``), other texts (JSON lines, CoNLL) and, where there are any, PDFs in ``pdfs/``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from jobs.bench.common.answering import answers, index
from jobs.bench.common.ask import Ask, tell
from jobs.bench.common.frames import write_retribert
from jobs.bench.common.indexes import Compared, compare, is_exact
from jobs.bench.common.machine import versions
from jobs.bench.common.passages import Squad, read_squad, short_texts
from jobs.bench.common.report import Check, Report, Table
from jobs.bench.common.two_commands import Searched, search_pdfs
from stages.base import Row
from stages.vectors import Floats, Index

FAMILY = "retribert"
TEXTS, QUICK_TEXTS = 100_000, 400
TURNS = 3
TOP = 10
"""Hits of a question."""
ASKED_OF_PDFS = (
    "How do I read a file in a web browser?",
    "When is the form due?",
    "What is said about JavaScript?",
)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The questions among the paragraphs."""

    recall: dict[int, float]
    """Share of the questions whose own paragraph is among the first so many."""
    exact: int
    """Questions whose hits are those of comparing with every paragraph."""
    vectors: Floats
    """(questions, numbers)"""


@dataclass(frozen=True, kw_only=True)
class _Large:
    """Many texts."""

    texts: int
    texts_per_s: float
    """Embedded, once under way."""
    compared: Compared


def measure(ask: Ask) -> Report:
    """Recall on SQuAD, recall and speed of the compressed index, and PDFs searched by two commands."""
    squad = read_squad("retrieval", ask.data)
    assert ask.data is not None
    pdfs = ask.data / "pdfs"
    with tempfile.TemporaryDirectory(prefix="manta-bench-") as name:
        folder = Path(name)
        write_retribert(folder / "start")
        tell(f"{len(squad.questions)} questions are asked of {len(squad.paragraphs)} paragraphs")
        asked = _ask(folder, squad, alone=ask.quick)
        texts = short_texts(ask.data, squad.paragraphs, QUICK_TEXTS if ask.quick else TEXTS)
        tell(f"{len(texts):,} texts are embedded")
        large = _many(folder, texts, asked.vectors, alone=ask.quick)
        searched = None
        if pdfs.is_dir() and not ask.quick:
            searched = search_pdfs(FAMILY, folder / "start", pdfs, ASKED_OF_PDFS, folder)
    return _report(ask, squad, asked, large, searched)


def _ask(folder: Path, squad: Squad, *, alone: bool) -> _Asked:
    """Indexes the paragraphs and asks the questions."""
    paragraphs: list[Row] = [{"uri": f"paragraph-{n}", "text": text} for n, text in enumerate(squad.paragraphs)]
    table = _write([{"question": row["question"]} for row in squad.questions], folder / "questions.parquet")
    start, output = folder / "start", folder / "index"
    index(FAMILY, checkpoint=start, table=_write(paragraphs, folder / "paragraphs.parquet"), output=output, alone=alone)
    search = {"index": str(output), "top_k": TOP}
    asking = partial(answers, FAMILY, checkpoint=start, table=table, alone=alone)
    hits = [cast("list[Row]", row["hits"]) for row in asking("search", output=folder / "hits", options=search)]
    features = asking("features", output=folder / "features")
    vectors = np.array([row["question_vector"] for row in features], np.float32)
    found = [[hit["text"] for hit in each] for each in hits]
    own = [str(row["text"]) for row in squad.questions]
    flat = Index(output / "index")
    return _Asked(
        recall={k: float(np.mean([text in texts[:k] for text, texts in zip(own, found, strict=True)])) for k in (1, 5)},
        exact=sum(is_exact(each, vector, flat) for each, vector in zip(hits, vectors, strict=True)),
        vectors=vectors,
    )


def _many(folder: Path, texts: Sequence[str], questions: Floats, *, alone: bool) -> _Large:
    """Indexes many texts exactly and compressed, and asks both."""
    table = _write([{"uri": f"text-{n}", "text": text} for n, text in enumerate(texts)], folder / "texts.parquet")
    large, start = folder / "large", folder / "start"
    speed = index(FAMILY, checkpoint=start, table=table, output=large, options={"kind": "flat"}, alone=alone)
    compared = compare(large / "index", folder / "compressed", questions, top_k=TOP, turns=1 if alone else TURNS)
    return _Large(texts=len(texts), texts_per_s=speed, compared=compared)


def _write(rows: Sequence[Row], file: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return str(file)


# ---- the report


def _report(ask: Ask, squad: Squad, asked: _Asked, large: _Large, searched: Searched | None) -> Report:
    count, compared = len(squad.questions), large.compared
    recalls = Table(
        title=f"{count} questions among {len(squad.paragraphs)} paragraphs",
        columns=("encoder", "recall@1", "recall@5", "hits equal to comparing with all"),
        rows=(("MiniLM's, in RetriBERT's frame", asked.recall[1], asked.recall[5], f"{asked.exact} of {count}"),),
    )
    speeds = Table(
        title=f"{large.texts:,} texts, the same questions",
        columns=("index", f"recall@{TOP} of exact", "questions/s, together", "questions/s, one by one", "MB"),
        rows=tuple(
            (
                name,
                1.0 if at == 0 else compared.recall,
                count / compared.together_s[name],
                count / compared.alone_s[name],
                megabytes,
            )
            for at, (name, megabytes) in enumerate(compared.megabytes.items())
        ),
    )
    checks = (
        Check(what="exact hits equal to comparing with all", figure=100 * asked.exact / count, mark=100, unit="%"),
        Check(what=f"recall@{TOP} of the compressed index", figure=compared.recall, mark=0.95, unit=""),
        Check(what="texts in it", figure=large.texts, mark=100_000, unit=""),
    )
    return Report(
        bench="retrieval",
        title="questions and the texts that answer them",
        command=ask.command("retrieval"),
        tables=(recalls, speeds, *(_documents(searched) if searched else ())),
        checks=() if ask.quick else checks,
        notes=(
            f"vectors of {asked.vectors.shape[1]} numbers, embedded by manta run --task index at "
            f"{large.texts_per_s:.0f} short texts a second in float32",
            "short texts: paragraphs, captions in two languages, tweets and lines as they stand in the folder, then "
            "windows of words over them; all different",
            f"questions/s of the search alone, vectors at hand; medians of {TURNS}",
        ),
        versions=versions("faiss-cpu", "torch", "transformers", "ray"),
    )


def _documents(searched: Searched) -> tuple[Table, Table]:
    commands = Table(
        title="PDFs to index to search by two commands",
        columns=("command", "start to exit, s", "pages", "error rows", "passages"),
        rows=(
            ("manta run retribert --task index", searched.index_s, searched.pages, searched.failed, searched.passages),
            ("manta run retribert --task search", searched.search_s, None, None, None),
        ),
    )
    best = [(str(one["question"]), Path(str(one["uri"])).name, _short(str(one["text"]))) for one in searched.best]
    return commands, Table(title="Best passages", columns=("question", "file", "begins"), rows=tuple(best))


def _short(text: str) -> str:
    words = " ".join(text.split())
    return f"{words[:60]}…" if len(words) > 60 else words
