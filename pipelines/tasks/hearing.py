"""What every task on recordings shares: long ones in overlapping chunks, batches of equal lengths, the model.

Chunks and their strides are those of transformers' automatic-speech-recognition pipeline with ``chunk_length_s``: each
chunk is heard with some sound on both sides, of which the answers are dropped where chunks are joined.

Shape suffixes: B chunks of a batch, S samples of a chunk, T frames that the model makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np

from pipelines.family import Batch, Options, Task
from pipelines.tasks.loading import load_config, load_preprocessor, load_weights
from pipelines.tasks.padding import labels_of
from stages.base import Row
from stages.errors import CheckpointError, Code, RowError, UsageError
from stages.examples import Example
from stages.takes import Sound

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig

    Samples = NDArray[np.float32]
    Strides = NDArray[np.int32]

AnyArray = TypeVar("AnyArray", bound="NDArray[np.generic]")


@dataclass(frozen=True, kw_only=True)
class HearingOptions(Options):
    """Options of every task on recordings."""

    chunk_s: float = 20.0
    """a longer recording is heard in chunks of so many seconds; 0 hears it whole, at a cost of its length squared"""
    stride_s: float = 0.0
    """seconds on both sides of a chunk that are heard twice; 0 takes a sixth of the chunk"""

    def __post_init__(self) -> None:
        if self.chunk_s < 0 or self.stride_s < 0:
            raise UsageError("task.chunk_s and task.stride_s must be 0 or more")
        if self.chunk_s and 2 * self.stride_s >= self.chunk_s:
            raise UsageError(f"task.stride_s must be less than half of chunk_s {self.chunk_s:g}, not {self.stride_s:g}")


class HearingTask(Task):
    """A task on ``sound``; one example a chunk. A subclass names ``auto_class``, writes ``forward`` and ``decode``."""

    reads: ClassVar[tuple[str, ...]] = ("sound",)
    equal_lengths: ClassVar[bool] = True
    options_type = HearingOptions
    options: HearingOptions
    auto_class: ClassVar[str]
    """The class that loads the model, of transformers."""
    config: PreTrainedConfig
    extractor: Any
    """transformers' feature extractor: scales samples."""

    def unused_weights(self) -> tuple[str, ...]:
        """Patterns of weights that the task does not look at: SpecAugment's mask is for training alone."""
        return (r".*masked_spec_embed",)

    def load_processor(self) -> None:
        """Loads the configuration and the feature extractor, which must be one of waveforms."""
        from transformers import Wav2Vec2FeatureExtractor

        self.config = load_config(self.checkpoint)
        self.extractor = load_preprocessor(self.checkpoint, "AutoFeatureExtractor")
        if not isinstance(self.extractor, Wav2Vec2FeatureExtractor):
            kind = type(self.extractor).__name__
            raise CheckpointError(f"{self.checkpoint.ref} hears through {kind}; Manta's models take waveforms")

    def takes(self) -> Sound:
        """The rate of its feature extractor."""
        return Sound(rate=int(self.extractor.sampling_rate))

    def load_model(self, device: torch.device, dtype: torch.dtype) -> None:
        """Loads the weights; on the device ``meta`` only their names, which tells whether the checkpoint has them."""
        self.model = load_weights(
            self.checkpoint,
            self.auto_class,
            device=device,
            dtype=dtype,
            unused=self.unused_weights(),
            allow_random_head=self.options.allow_random_head,
        )

    @property
    def ratio(self) -> int:
        """Samples of one frame."""
        return int(self.ears.inputs_to_logits_ratio)

    @property
    def ears(self) -> Any:  # noqa: ANN401  families' configurations have no common type
        """The configuration of what hears: the whole model, or its encoder."""
        return getattr(self.config, "encoder", self.config)

    def encode(self, row: Row) -> list[Example]:
        """One example a chunk: ``samples`` (S,), scaled, and ``stride``: S and how many of them, left and right, only
        give the others their surroundings."""
        sound = samples_of(row, int(self.extractor.sampling_rate))
        examples = []
        for start, end, left, right in chunks(len(sound), *self.chunk_and_stride()):
            values = self.extractor(sound[start:end], sampling_rate=self.extractor.sampling_rate, return_tensors="np")[
                "input_values"
            ][0]
            frames = self._frames(end - start)
            stride = np.array([end - start, left, right], np.int32)
            arrays = {"samples": np.asarray(values, np.float32), "stride": stride}
            examples.append(Example(arrays=arrays, length=frames, group=end - start))
        return examples

    def chunk_and_stride(self) -> tuple[int, int]:
        """Samples of a chunk and of the stride on both its sides; whole frames."""
        options, align = self.options, self.ratio
        rate = int(self.extractor.sampling_rate)
        stride_s = options.stride_s or options.chunk_s / 6
        return round(options.chunk_s * rate / align) * align, round(stride_s * rate / align) * align

    def _frames(self, samples: int) -> int:
        """Frames that the model makes of so many samples. Raises RowError(ENCODE_FAILED) for less than two."""
        frames = samples
        for kernel, stride in zip(self.ears.conv_kernel, self.ears.conv_stride, strict=True):
            frames = (frames - kernel) // stride + 1
        if frames < 2:
            raise RowError(Code.ENCODE_FAILED, f"a recording of {samples} samples is too short for the model")
        return frames

    def collate(self, examples: Sequence[Example]) -> Batch:
        """``input_values`` (B, S), and ``labels`` where there are any; all have one length, so there is no mask."""
        import torch

        values = torch.from_numpy(np.stack([one.arrays["samples"] for one in examples]))
        return {"input_values": values, **labels_of(examples)}

    def run(self, batch: Batch) -> Any:  # noqa: ANN401  a ModelOutput; its fields differ by head
        """The model's output."""
        return self.model(input_values=batch["input_values"].to(self.model.dtype))


def samples_of(row: Row, rate: int) -> Samples:
    """The row's samples. Raises RowError(ENCODE_FAILED) where it has none, or of another rate."""
    sound = row.get("sound")
    if not isinstance(sound, dict):
        raise RowError(Code.ENCODE_FAILED, "the row has no recording")
    if sound["rate"] != rate:
        raise RowError(Code.ENCODE_FAILED, f"the row's sound has {sound['rate']} Hz, the model takes {rate}")
    return np.frombuffer(cast("bytes", sound["samples"]), np.float32)


def chunks(length: int, chunk: int, stride: int) -> Iterator[tuple[int, int, int, int]]:
    """Start, end, and strides left and right of each chunk; one where ``chunk`` is 0 or no shorter than ``length``."""
    if not chunk:
        yield 0, length, 0, 0
        return
    for start in range(0, length, chunk - 2 * stride):
        last = start + chunk >= length
        end, left = min(start + chunk, length), stride if start else 0
        if end - start > left:
            yield start, end, left, 0 if last else stride
        if last:
            return


def joined(parts: Sequence[AnyArray], examples: Sequence[Example], ratio: int) -> AnyArray:
    """Arrays (T, …) of each chunk as one of the recording, without what was heard twice."""
    kept = []
    for part, one in zip(parts, examples, strict=True):
        samples, left, right = (int(each) for each in one.arrays["stride"])
        frames = round(samples / ratio)
        kept.append(part[round(left / samples * frames) : frames - round(right / samples * frames)])
    return cast("AnyArray", np.concatenate(kept) if len(parts) > 1 else parts[0])
