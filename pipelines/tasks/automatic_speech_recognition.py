"""Speech recognition by CTC: the text of a recording, and when each word was said.

Shape suffixes: B chunks of a batch, T frames, U characters of a text, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch, Metric
from pipelines.tasks.base_text import text_of, unbatch
from pipelines.tasks.error_rates import error_rates
from pipelines.tasks.hearing import HearingTask, joined
from pipelines.tasks.loading import load_tokenizer
from pipelines.tasks.padding import IGNORED
from stages.base import Row
from stages.errors import CheckpointError, Code, RowError
from stages.examples import Example, Output

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class AutomaticSpeechRecognition(HearingTask):
    """The most probable character of each frame, repeats and blanks taken out (Graves et al. 2006)."""

    name = "automatic-speech-recognition"
    summary = "the text of a recording, and when each word was said"
    gold: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[tuple[str, ...]] = ("text", "score", "word_times")
    metric = Metric(name="wer", greater_is_better=False)
    more_metrics: ClassVar[tuple[Metric, ...]] = (Metric(name="cer", greater_is_better=False),)
    auto_class = "AutoModelForCTC"
    tokenizer: Any
    """A CTC tokenizer, which knows blanks and offsets."""

    def load_processor(self) -> None:
        """Loads the feature extractor and the vocabulary."""
        from transformers import Wav2Vec2CTCTokenizer

        super().load_processor()
        self.tokenizer = load_tokenizer(self.checkpoint, fast=False)
        if not isinstance(self.tokenizer, Wav2Vec2CTCTokenizer):
            raise CheckpointError(f"{self.checkpoint.ref} has no CTC vocabulary but a {type(self.tokenizer).__name__}")

    def forward(self, batch: Batch, examples: Sequence[Example]) -> list[Output]:
        """``ids`` (T,) of the best characters and ``shares`` (T,), the logarithms of their probabilities."""
        best = self.run(batch).logits.float().log_softmax(-1).max(-1)
        return unbatch({"ids": best.indices.int(), "shares": best.values})

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Output]) -> Row:
        """``text, score, word_times``; scores are the geometric mean over frames."""
        ids = joined([one["ids"] for one in outputs], examples, self.ratio)
        shares = joined([np.asarray(one["shares"], np.float32) for one in outputs], examples, self.ratio)
        said = self.tokenizer.decode(ids.tolist(), output_word_offsets=True)
        words = [self._word(each, shares) for each in said.word_offsets]
        return {"text": said.text, "score": float(np.exp(shares.mean())), "word_times": words}

    def _word(self, offset: dict[str, Any], shares: NDArray[np.float32]) -> Row:
        first, end = int(offset["start_offset"]), int(offset["end_offset"])
        frame_s = self.ratio / self.extractor.sampling_rate
        score = float(np.exp(shares[first:end].mean()))
        return {"text": offset["word"], "start": first * frame_s, "end": end * frame_s, "score": score}

    # ---- training

    def target_ids(self, text: str) -> NDArray[np.int32]:
        """The characters of a text (U,), in the case that the vocabulary has. Raises RowError(ENCODE_FAILED) for
        characters that it lacks."""
        unknown = self.tokenizer.unk_token_id
        cases = [self.tokenizer(each)["input_ids"] for each in (text, text.upper(), text.lower())]
        best: list[int] = min(cases, key=lambda ids: ids.count(unknown))
        if unknown in best or not best:
            raise RowError(Code.ENCODE_FAILED, f"the text {text!r} has characters that the vocabulary lacks, or none")
        return np.array(best, np.int32)

    def encode_labels(self, row: Row, examples: Sequence[Example]) -> list[Example]:
        """Adds ``labels`` (U,). Raises RowError where the recording is too long for one chunk, or for its text too
        short."""
        if len(examples) > 1:
            message = f"the recording is longer than task.chunk_s = {self.options.chunk_s:g}: cut it, or raise that"
            raise RowError(Code.ENCODE_FAILED, message)
        ids = self.target_ids(text_of(row))
        if len(ids) + int((ids[1:] == ids[:-1]).sum()) > examples[0].length:
            raise RowError(Code.ENCODE_FAILED, f"{len(ids)} characters in {examples[0].length} frames: not this text")
        return [replace(examples[0], arrays={**examples[0].arrays, "labels": ids})]

    def loss(self, outputs: Any, labels: torch.Tensor, num_items: torch.Tensor | None) -> torch.Tensor:  # noqa: ANN401
        """The CTC loss, summed, over the number of characters."""
        import torch
        from torch.nn.functional import ctc_loss

        lengths_B = (labels != IGNORED).sum(1)
        log_probs_TBV = outputs.logits.float().log_softmax(-1).transpose(0, 1)
        frames_B = torch.full_like(lengths_B, len(log_probs_TBV))
        blank = int(self.model.config.pad_token_id or 0)
        summed: torch.Tensor = ctc_loss(
            log_probs_TBV, labels.clamp(min=0), frames_B, lengths_B, blank=blank, reduction="sum", zero_infinity=True
        )
        return summed / (lengths_B.sum() if num_items is None else num_items)

    def metrics(self, gold: Sequence[Row], answers: Sequence[Row]) -> dict[str, float]:
        """``wer`` and ``cer``: words and characters that are wrong, missing or too many, over those that are right."""
        ids = [self.target_ids(text_of(row)) for row in gold]
        right = [self.tokenizer.decode(each.tolist(), group_tokens=False) for each in ids]
        return error_rates(right, [str(row["text"]) for row in answers])
