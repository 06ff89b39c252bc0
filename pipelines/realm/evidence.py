"""REALM's tasks with evidence given in the row: how relevant it is, and what is masked in a text beside it.

B rows, N candidates a row, L tokens of the longest text or pair, M masks of a row, V pieces of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.realm.tasks import MODEL
from pipelines.tasks.base_text import TextTask, text_of
from pipelines.tasks.loss import cross_entropy
from pipelines.tasks.masked_lm import MaskedLM
from pipelines.tasks.padding import IGNORED, pad_one
from stages.base import Row
from stages.errors import Code, RowError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[np.generic]"]


class Relevance(TextTask):
    """Scores candidates by how well they fit a text; trained to choose the right one."""

    name = "relevance"
    summary = "how relevant candidate texts are to a text"
    reads = ("text", "candidates")
    gold: ClassVar[tuple[str, ...]] = ("choice",)
    writes = ("scores",)
    metric = Metric(name="accuracy")
    auto_class = f"{MODEL}.RealmScorer"

    def unused_weights(self) -> tuple[str, ...]:
        """The vocabulary projection, and a second embedder where the checkpoint has one for both."""
        return (r"(query_)?embedder\.cls\.predictions\.", r"query_embedder\.")

    def encode(self, row: Row) -> list[Example]:
        """The text and its candidates end to end as one example; ``sizes`` (1 + N,) are their lengths."""
        texts = [text_of(row), *candidates_of(row)]
        return [_joined([self.example(self.tokenise(text)) for text in texts])]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors of texts (B, L) and candidates (B, N, L)."""
        parts = [_parts(one) for one in examples]
        texts = _padded([rows[0] for rows in parts], self.pad_id)
        flat = _padded([row for rows in parts for row in rows[1:]], self.pad_id)
        candidates = {f"candidate_{name}": each.unflatten(0, (len(parts), -1)) for name, each in flat.items()}
        batch = {**texts, **candidates}
        if "labels" in examples[0].arrays:
            batch["labels"] = pad_one([one.arrays["labels"] for one in examples], IGNORED)
        return batch

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``relevance`` (N,) of each row's candidates."""
        return [{"relevance": each} for each in self.run(batch).relevance_score.float().cpu().numpy()]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``scores``: every candidate with its relevance, before any softmax, the best first."""
        relevance, texts = np.asarray(outputs[0]["relevance"], np.float32), candidates_of(row)
        order = np.argsort(-relevance, kind="stable").tolist()
        return {"scores": [{"label": texts[n], "score": float(relevance[n])} for n in order]}

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (1,): which candidate is the right one."""
        right, count = row.get("choice"), examples[0].group
        if not isinstance(right, int) or not 0 <= right < count:
            raise RowError(Code.ENCODE_FAILED, f"column 'choice' must be from 0 to {count - 1}, not {right!r}")
        return [replace(one, arrays={**one.arrays, "labels": np.array([right], np.int32)}) for one in examples]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Cross entropy over each row's candidates, summed, over ``num_items`` rows."""
        return cross_entropy(outputs.relevance_score, labels.flatten(), num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``accuracy``: how often the right candidate is the most relevant."""
        best = [cast("list[Row]", row["scores"])[0]["label"] for row in answers]
        right = [candidates_of(row)[cast("int", row["choice"])] for row in gold]
        return {"accuracy": float(np.mean([one == other for one, other in zip(best, right, strict=True)]))}


class EvidenceMaskedLM(MaskedLM):
    """Fills the masks of a text that is read beside each of its candidates, weighed by their relevance."""

    summary = "the most probable fills for each mask, with evidence weighed by its relevance"
    reads: ClassVar[tuple[str, ...]] = ("text", "candidates")
    optional: ClassVar[tuple[str, ...]] = ("relevance",)
    auto_class = f"{MODEL}.RealmKnowledgeAugEncoder"

    def unused_weights(self) -> tuple[str, ...]:
        """The pooler."""
        return (r"realm\.pooler\.",)

    def encode(self, row: Row) -> list[Example]:
        """One example: the text beside each candidate, end to end, the longer one cut first; ``masks`` (M,) are the
        same in all of them."""
        text = text_of(row)
        pairs = [self.example(self.tokenise(text, candidate)) for candidate in candidates_of(row)]
        masks = self.masked_example(self.tokenise(text), text).arrays["masks"]
        if len(masks) and int(masks.max()) >= self._shared(pairs):
            raise RowError(Code.ENCODE_FAILED, f"a mask lies beyond what fits beside evidence in {self.limit} tokens")
        one = _joined(pairs)
        more = {"masks": masks, "targets": self.targets, "relevance": _relevance(row, len(pairs))}
        return [replace(one, arrays={**one.arrays, **more}, group=len(pairs))]

    def _shared(self, pairs: Sequence[Example]) -> int:
        """How many first tokens all pairs have in common: the text, where none of it was cut."""
        separator = self.tokenizer.sep_token_id
        return min(int(np.argmax(np.asarray(one.arrays["input_ids"]) == separator)) for one in pairs)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Padded tensors (B, N, L), ``relevance_score`` (B, N); in training ``labels`` (B, L) of hidden tokens."""
        import torch

        parts = [pair for one in examples for pair in _parts(one)]
        flat = _padded(parts, self.pad_id)
        batch = {name: each.unflatten(0, (len(examples), -1)) for name, each in flat.items()}
        batch["relevance_score"] = torch.from_numpy(np.stack([one.arrays["relevance"] for one in examples]))
        if "labels" not in examples[0].arrays:
            return batch
        labels_BT = pad_one([one.arrays["labels"] for one in examples], IGNORED)
        rest = batch["input_ids"].shape[-1] - labels_BT.shape[-1]
        return {**batch, "labels": torch.nn.functional.pad(labels_BT, (0, rest), value=IGNORED)}

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``tokens`` and ``scores`` (M, K): probabilities are sums over candidates, weighed by relevance."""
        import torch

        logits = self.run({name: each for name, each in batch.items() if name != "relevance_score"}).logits
        weights_BN = batch["relevance_score"].float().softmax(-1)
        shares = logits.unflatten(0, weights_BN.shape)
        parts = []
        for n, one in enumerate(examples):
            masks = torch.as_tensor(one.arrays["masks"].astype(np.int64), device=logits.device)
            parts.append((shares[n][:, masks].float().softmax(-1) * weights_BN[n][:, None, None]).sum(0))
        return self.best(torch.cat(parts).log(), examples)

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``fills``: one list a mask, each with the text as it then reads."""
        alone = self.masked_example(self.tokenise(text_of(row)), text_of(row))
        return super().decode(row, [alone], outputs)

    # ---- training

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (tokens of the text,): what may be hidden; ``vary`` hides some, anew each time."""
        pairs = [self.example(self.tokenise(text_of(row), candidate)) for candidate in candidates_of(row)]
        ids = np.asarray(pairs[0].arrays["input_ids"], np.int32)[: self._shared(pairs)]
        labels = np.where(np.isin(ids, self.tokenizer.all_special_ids), IGNORED, ids)
        return [replace(one, arrays={**one.arrays, "labels": labels}) for one in examples]

    def vary(self, example: Example, random: Generator) -> Example:
        """Some tokens of the text hidden, the same ones beside every candidate."""
        labels = example.arrays["labels"]
        ids, shared = example.arrays["input_ids"].copy(), len(labels)
        alone = Example(arrays={"input_ids": ids[:shared], "labels": labels}, length=shared)
        hidden = super().vary(alone, random).arrays
        ends = np.cumsum(example.arrays["sizes"])
        for start in (ends - example.arrays["sizes"]).tolist():
            ids[start : start + shared] = hidden["input_ids"]
        return replace(example, arrays={**example.arrays, "input_ids": ids, "labels": hidden["labels"]})

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """Minus the marginal log likelihood over candidates (equation 1), summed over hidden tokens."""
        from pipelines.realm.model import marginal_log_likelihood

        likely_BL = marginal_log_likelihood(outputs.logits, outputs.relevance_score, labels)
        hidden_BL = labels != IGNORED
        total = hidden_BL.sum().clamp(min=1) if num_items is None else num_items
        return -(likely_BL * hidden_BL).sum() / total


def candidates_of(row: Row) -> list[str]:
    """The row's candidates. Raises RowError for none."""
    found = row.get("candidates")
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise RowError(Code.ENCODE_FAILED, "column 'candidates' must hold a list of one or more texts")
    return cast("list[str]", found)


def _relevance(row: Row, count: int) -> NDArray[np.float32]:
    """The row's ``relevance``, one number a candidate; without any, all are alike."""
    found = row.get("relevance")
    if found is None:
        return np.zeros(count, np.float32)
    if not isinstance(found, list) or len(found) != count:
        raise RowError(Code.ENCODE_FAILED, f"the row has {count} candidates but another number of relevance scores")
    return np.array(found, np.float32)


def _joined(parts: Sequence[Example]) -> Example:
    """Texts end to end as one example that costs as much as they do padded; rows of as many share a batch."""
    arrays: Arrays = {name: np.concatenate([one.arrays[name] for one in parts]) for name in parts[0].arrays}
    arrays["sizes"] = np.array([one.length for one in parts], np.int32)
    return Example(arrays=arrays, length=len(parts) * max(one.length for one in parts), group=len(parts) - 1)


def _parts(one: Example) -> list[Arrays]:
    """What ``_joined`` joined."""
    ends = np.cumsum(one.arrays["sizes"])[:-1]
    names = [name for name in ("input_ids", "token_type_ids") if name in one.arrays]
    split = {name: np.split(one.arrays[name], ends) for name in names}
    return [{name: split[name][n] for name in names} for n in range(len(ends) + 1)]


def _padded(parts: Sequence[Arrays], pad_id: int) -> dict[str, torch.Tensor]:
    """Token arrays to padded tensors with their attention mask."""
    values = {"input_ids": pad_id}
    there = {name: pad_one([one[name] for one in parts], values.get(name, 0)) for name in parts[0]}
    return {**there, "attention_mask": pad_one([np.ones(len(one["input_ids"]), np.int8) for one in parts], 0)}
