"""Speech recognition by CTC: the text of a recording, and when each word was said.

Shape suffixes: B chunks of a batch, T frames, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.family import Batch
from pipelines.tasks.base_text import unbatch
from pipelines.tasks.hearing import HearingTask, joined
from pipelines.tasks.loading import load_tokenizer
from stages.base import Row
from stages.errors import CheckpointError
from stages.examples import Example, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AutomaticSpeechRecognition(HearingTask):
    """The most probable character of each frame, repeats and blanks taken out (Graves et al. 2006)."""

    name = "automatic-speech-recognition"
    summary = "the text of a recording, and when each word was said"
    writes: ClassVar[tuple[str, ...]] = ("text", "score", "word_times")
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
