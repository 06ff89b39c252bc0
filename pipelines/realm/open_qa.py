"""Open question answering: no text is given; the blocks that the answer may stand in are found first.

B questions, L tokens of the longest, R blocks that are read, P numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipelines.checkpoint import at_hand
from pipelines.family import Batch, Metric
from pipelines.realm.tasks import READER
from pipelines.tasks.answers import judge
from pipelines.tasks.asking import gold_answers
from pipelines.tasks.base_text import TextOptions, TextTask, text_of
from pipelines.tasks.dense_index import FOLDER, absolute
from pipelines.tasks.padding import IGNORED
from stages.base import Row
from stages.errors import CheckpointError, Code, RowError, UsageError
from stages.examples import Example, Output
from stages.predictor import row_seed

if TYPE_CHECKING:
    import torch

    from pipelines.realm.reader import RealmForOpenQA
    from pipelines.realm.settings import RealmTokenizer
    from stages.vectors import Index


@dataclass(frozen=True, kw_only=True)
class OpenOptions(TextOptions):
    """Options of open question answering."""

    index: str = ""
    """output folder of the task index, whose passages are the evidence; empty takes the blocks beside the weights"""
    refresh_steps: int = 0
    """in training: steps from one embedding of all blocks, by the embedder as it is then, to the next; the first comes
    before the first step; 0 leaves the blocks the vectors that they came with"""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "index", absolute(self.index))
        if self.refresh_steps < 0:
            raise UsageError(f"task.refresh_steps must be 0 or more, not {self.refresh_steps}")
        if self.refresh_steps and self.index:
            raise UsageError(
                "task.refresh_steps embeds the blocks beside the weights; an index keeps its vectors: leave out "
                "task.refresh_steps or task.index",
            )


class OpenQuestionAnswering(TextTask):
    """Answers questions from the evidence that its retriever finds."""

    name = "open-question-answering"
    summary = "answers questions from blocks of text that it finds itself"
    reads: ClassVar[tuple[str, ...]] = ("question",)
    gold: ClassVar[tuple[str, ...]] = ("answers",)
    writes = ("question", "answer", "score", "evidence", "hits")
    options_type = OpenOptions
    options: OpenOptions
    metric = Metric(name="exact_match")
    more_metrics = (Metric(name="f1"),)
    auto_class = f"{READER}.RealmForOpenQA"
    model: RealmForOpenQA
    index: Index | None
    """None where the blocks lie beside the weights."""
    blocks: Sequence[str | None]

    def unused_weights(self) -> tuple[str, ...]:
        """Vocabulary projections and the reader's pooler; with an index, the blocks' own vectors."""
        unused = (r"(embedder|reader)\.cls\.predictions\.", r"reader\.realm\.pooler\.")
        return (*unused, r"block_emb") if self.options.index else unused

    def besides(self) -> str:
        """The index's content."""
        from stages.vectors import about

        return about(f"{self.options.index}/{FOLDER}").content if self.options.index else ""

    def load_processor(self) -> None:
        """Loads tokenizer, configuration and evidence. Raises UsageError for an index of another dimension."""
        from pipelines.realm.retriever import load_blocks
        from stages.vectors import load

        super().load_processor()
        self.index = None
        if self.options.index:
            folder = f"{self.options.index}/{FOLDER}"
            self.index = load(folder)
            self.index.check(checkpoint="", dimension=int(self.config.retriever_proj_size), folder=folder)
            self.blocks = self.index.texts["text"].to_pylist()
        else:
            self.blocks = load_blocks(at_hand(self.checkpoint))

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights and gives the model its evidence. Raises CheckpointError for blocks without vectors."""
        import torch

        from pipelines.realm.retriever import RealmRetriever

        super().load_model(device, dtype)
        known = [block or "" for block in self.blocks]  # an index may have places without a passage
        self.model.retriever = RealmRetriever(known, cast("RealmTokenizer", self.tokenizer))
        if self.index is not None:
            gone = torch.tensor([block is None for block in self.blocks])
            vectors = torch.from_numpy(np.array(self.index.vectors)).masked_fill(gone[:, None], 0)
            self.model.block_emb = vectors.to(device, dtype)
        elif not (self.options.refresh_steps and self.options.allow_random_head):  # else training embeds them
            self._check_vectors()

    def _check_vectors(self) -> None:
        vectors, blocks = self.model.block_emb, len(self.blocks)
        if len(vectors) != blocks or not (vectors.is_meta or bool(vectors.any())):
            there = f"vectors of {len(vectors)}" if len(vectors) != blocks else "no vectors"
            raise CheckpointError(
                f"{self.checkpoint.ref} has {blocks} blocks of evidence but {there}: embed them by training with --set "
                "task.refresh_steps=1000, or answer from an index (task.index)",
            )

    def encode(self, row: Row) -> list[Example]:
        """One example: the question. In training each is a batch of its own, with its own blocks."""
        question = text_of(row, "question")
        if not question.strip():
            raise RowError(Code.ENCODE_FAILED, "the question is empty")
        return [self.example(self.tokenise(question))]

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``answer`` (tokens,), ``blocks`` and ``relevance`` (R,), the ``block`` it stands in, and its ``score``."""
        questions_BP = self.model.embedder(**batch).projected_score
        ids_BR, relevance_BR = self._retrieve(questions_BP)
        outputs: list[Output] = []
        for n, one in enumerate(examples):
            question, there_R = batch["input_ids"][n : n + 1, : one.length], ids_BR[n] >= 0
            if not there_R.any():
                outputs.append({"blocks": np.zeros(0, np.int64)})
                continue
            ids_R, relevance_R = ids_BR[n][there_R], relevance_BR[n][there_R]
            found, inputs = self.model.read(question, ids_R, relevance_R, None)
            best: Any = found
            answer = inputs.input_ids[best.block_idx][int(best.start_pos) : int(best.end_pos) + 1]
            told = {
                "answer": answer,
                "blocks": ids_R,
                "relevance": relevance_R.float(),
                "block": best.block_idx[None],
                "score": best.log_probability.exp()[None].float(),
            }
            outputs.append({name: each.cpu().numpy() for name, each in told.items()})
        return outputs

    def _retrieve(self, questions_BP: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers and relevance (B, R) of the blocks to read; -1 where an index finds fewer."""
        import torch

        if self.index is None:
            ids_BR: torch.Tensor = self.model.search(questions_BP)
        else:
            most = min(self.model.config.reader_beam_size, self.index.about.passages)
            places, _ = self.index.search(questions_BP.float().cpu().numpy(), most)
            ids_BR = torch.from_numpy(places).to(questions_BP.device)
        return ids_BR, torch.einsum("brp,bp->br", self.model.block_emb[ids_BR], questions_BP)

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``answer``, ``score`` (its probability among all spans), ``evidence`` and the ``hits`` that were read.

        Raises RowError where there are none.
        """
        output = outputs[0]
        if not len(output["blocks"]):
            raise RowError(Code.ENCODE_FAILED, "no evidence was found for the question")
        hits = [self._hit(int(n), float(s)) for n, s in zip(output["blocks"], output["relevance"], strict=True)]
        return {
            "question": row["question"],
            "answer": str(self.tokenizer.decode(output["answer"], skip_special_tokens=True)),
            "score": float(output["score"][0]),
            "evidence": hits[int(output["block"][0])]["text"],
            "hits": hits,
        }

    def _hit(self, place: int, score: float) -> Row:
        if self.index is not None:
            return self.index.hit(place, score)
        return {"uri": str(place), "text": self.blocks[place], "score": score}

    # ---- training

    def keep_up(self, step: int) -> None:
        """Embeds all blocks anew every ``refresh_steps``."""
        from pipelines.realm.refreshing import refresh

        if self.options.refresh_steps and step % self.options.refresh_steps == 0:
            refresh(self.model, cast("RealmTokenizer", self.tokenizer), self.blocks, self.limit)

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``answers`` (tokens of all accepted ones, each after its length) and ``labels`` (1,), one a question."""
        accepted = [self.tokenizer(one, add_special_tokens=False)["input_ids"] for one in gold_answers(row)]
        flat = [number for ids in accepted for number in (len(ids), *ids)]
        more = {"answers": np.array(flat, np.int32), "labels": np.zeros(1, np.int32)}
        group = row_seed(row) >> 32
        return [replace(one, arrays={**one.arrays, **more}, group=group) for one in examples]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors (B, L); in training one question, with its ``answer_ids`` (A, longest), padded with -1."""
        import torch

        batch = super().collate(examples)
        if "labels" not in batch:
            return batch
        flat, answers = examples[0].arrays["answers"].tolist(), []
        while flat:
            answers.append(flat[1 : 1 + flat[0]])
            flat = flat[1 + flat[0] :]
        longest = max(map(len, answers), default=1)
        rows = [ids + [-1] * (longest - len(ids)) for ids in answers] or [[-1]]
        first = {name: each[:1] for name, each in batch.items()}
        return {**first, "answer_ids": torch.tensor([rows])}

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """The reader's and the retriever's loss, summed over questions, over ``num_items``."""
        total = (labels != IGNORED).sum() if num_items is None else num_items
        loss: torch.Tensor = outputs.reader_output.loss / total
        return loss

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``exact_match`` and ``f1``: the best value among each question's accepted ``answers``."""
        return judge(
            [str(row["answer"]) for row in answers], [gold_answers(row) for row in gold], ("exact_match", "f1")
        )
