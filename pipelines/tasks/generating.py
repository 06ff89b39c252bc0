"""Writing texts token by token: one frame for translation, captions, speech and lines of text.

``write`` runs an encoder-decoder or a decoder alone, greedily, with beams or drawn, with a cache of keys and values.
The encoder runs once, and what was written is read once more in one pass for its log likelihood: ``generate`` itself
tells scores only by keeping the logits of every step (2 GB for T5-small, 64 texts, 5 beams, 50 tokens).

B examples, S sequences for each of them, N = B · S, T tokens written, P of the prompt, V pieces of the vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.checkpoint import at_hand
from pipelines.family import Batch, Checkpoint, Options
from pipelines.tasks.loading import most_tokens
from pipelines.tasks.padding import IGNORED
from stages.errors import UsageError
from stages.examples import Output

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MOST_TOKENS = 256
"""Longest text in tokens where neither the options nor the checkpoint say one."""
BATCH_COST = 1500
"""What one more batch costs, in tokens read: a step of writing takes a time of its own for each batch (96 sentences
through T5-small on a busy machine: 11.6 s, 16.3 s where it was nothing)."""
LOGITS = 2**25
"""Most logits (float32: 128 MB) that are held at once when what was written is read once more."""
_DRAWING = threading.Lock()
"""Draws come from torch's one generator, and batches run on several threads."""


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(Options):
    """Options of tasks that write."""

    max_new_tokens: int = 0
    """most tokens to write; 0 takes the checkpoint's own limit, or 256 where it has none"""
    num_beams: int = 0
    """beams of beam search; 1 is greedy, or plain sampling; 0 takes the checkpoint's own number"""
    num_return_sequences: int = 1
    """how many texts to give for each input, the best first; several need as many beams, or do_sample"""
    length_penalty: float | None = None
    """with beams: above 0 favours long texts, below 0 short ones; unset takes the checkpoint's own"""
    do_sample: bool = False
    """draw tokens instead of taking the most probable; seeded by the row's key, so the same each time"""
    temperature: float = 1.0
    """above 1 draws more evenly, below 1 less; used where do_sample"""
    top_k: int = 50
    """draw among that many most probable tokens; 0 draws among all"""
    top_p: float = 1.0
    """draw among the most probable tokens that have this probability together"""
    seed: int = 0
    """another seed draws other texts"""

    def __post_init__(self) -> None:
        bounds = {
            "max_new_tokens": (self.max_new_tokens >= 0, "0 or more"),
            "num_beams": (self.num_beams >= 0, "0 or more"),
            "num_return_sequences": (self.num_return_sequences >= 1, "1 or more"),
            "temperature": (self.temperature > 0, "above 0"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
        }
        for name, (good, rule) in bounds.items():
            if not good:
                raise UsageError(f"task.{name} must be {rule}, not {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Written:
    """One text as it was written."""

    text: str
    log_likelihood: float
    """Sum of its tokens' log probabilities, the end's too, by the model alone: no temperature, no length penalty."""
    tokens: int
    """How many these are."""

    @property
    def score(self) -> float:
        """Geometric mean of the tokens' probabilities, from 0 to 1: comparable between short and long texts."""
        return math.exp(self.log_likelihood / max(self.tokens, 1))


def load_generation(checkpoint: Checkpoint, config: PreTrainedConfig, options: GenerationOptions) -> GenerationConfig:
    """How the checkpoint itself writes where ``options`` say nothing.

    Raises UsageError where more sequences are wanted than there are beams.
    """
    from transformers import GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(at_hand(checkpoint), local_files_only=True)
    except OSError:
        own = GenerationConfig.from_model_config(config)
    beams = beams_of(own, options)
    if options.num_return_sequences > beams and not (options.do_sample and beams == 1):
        raise UsageError(
            f"task.num_return_sequences {options.num_return_sequences} is more than the {beams} beams: raise "
            "task.num_beams to it, or draw (task.do_sample=true with task.num_beams=1)",
        )
    return own


def beams_of(own: GenerationConfig, options: GenerationOptions) -> int:
    """How many texts are written side by side for each input."""
    return int(options.num_beams or own.num_beams or 1)


def write(model: PreTrainedModel, batch: Batch, options: GenerationOptions, seeds: Sequence[int]) -> list[Output]:
    """Texts for each example of a batch: ``tokens`` of its S sequences end to end, ``sizes`` (S,), and
    ``log_likelihood`` (S,).

    ``batch`` is what the model takes: ``input_ids`` (a decoder alone goes on from them: no padding on the right),
    ``pixel_values`` or ``input_values``, with masks; ``decoder_input_ids`` are the prompt of an encoder-decoder.
    Drawn texts are written one example at a time, each from its own of ``seeds``.
    """
    if not options.do_sample:
        return _write(model, batch, options)
    outputs: list[Output] = []
    for i, seed in enumerate(seeds):
        with seeded(seed):
            outputs += _write(model, {name: tensor[i : i + 1] for name, tensor in batch.items()}, options)
    return outputs


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it torch draws from ``seed`` on, and no other thread that is within one draws."""
    import torch

    with _DRAWING, torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def texts(output: Output, tokenizer: PreTrainedTokenizerBase) -> list[Written]:
    """An example's S texts, the best first."""
    parts = np.split(output["tokens"], np.cumsum(output["sizes"])[:-1])
    return [
        Written(
            text=str(tokenizer.decode(part, skip_special_tokens=True)), log_likelihood=float(likely), tokens=len(part)
        )
        for part, likely in zip(parts, output["log_likelihood"], strict=True)
    ]


def _write(model: PreTrainedModel, batch: Batch, options: GenerationOptions) -> list[Output]:
    import torch

    prompt = _prompt_length(model, batch)
    hidden_BLH = _encoded(model, batch)
    ids_NT: torch.Tensor = model.generate(  # type: ignore[operator]
        **_inputs(batch, hidden_BLH), generation_config=_settings(model, options, prompt)
    )
    written_NT = ids_NT[:, prompt:]
    ends = model.generation_config.eos_token_id
    is_end_NT = torch.isin(written_NT, torch.tensor([] if ends is None else ends, device=ids_NT.device))
    counted_NT = (is_end_NT.cumsum(1) - is_end_NT.long()) == 0
    likely_N = _log_likelihoods(model, batch, hidden_BLH, ids_NT, counted_NT)
    ids, counted, likely = written_NT.cpu().numpy(), counted_NT.cpu().numpy(), likely_N.cpu().numpy()
    share = options.num_return_sequences
    return [
        {
            "tokens": np.concatenate([ids[n][counted[n]] for n in range(first, first + share)]).astype(np.int32),
            "sizes": counted[first : first + share].sum(1).astype(np.int32),
            "log_likelihood": likely[first : first + share],
        }
        for first in range(0, len(ids), share)
    ]


def _prompt_length(model: PreTrainedModel, batch: Batch) -> int:
    """Tokens that were not written: a decoder's prompt, or the one that it starts with."""
    given = batch.get("decoder_input_ids" if model.config.is_encoder_decoder else "input_ids")
    return 1 if given is None else given.shape[1]


def _settings(model: PreTrainedModel, options: GenerationOptions, prompt: int) -> Any:  # noqa: ANN401 - untyped
    """The checkpoint's own way of writing, with what the options say."""
    own: Any = copy.deepcopy(model.generation_config)
    inherited = own.max_new_tokens or (own.max_length - prompt if own.max_length else MOST_TOKENS)
    most = options.max_new_tokens or max(inherited, 1)
    positions = most_tokens(model.config.get_text_config(decoder=True))
    if positions:  # a checkpoint made of two, or an option, may allow more than the decoder has
        most = max(1, min(most, positions - prompt))
    own.update(**({"max_new_tokens": most} if own.max_new_tokens else {"max_length": prompt + most}))
    own.update(
        num_beams=beams_of(own, options),
        num_return_sequences=options.num_return_sequences,
        do_sample=options.do_sample,
        use_cache=True,
    )
    if options.length_penalty is not None:
        own.update(length_penalty=options.length_penalty)
    drawn = {"temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p}
    own.update(**(drawn if options.do_sample else dict.fromkeys(drawn)))
    return own


def _encoded(model: PreTrainedModel, batch: Batch) -> torch.Tensor | None:
    """What an encoder-decoder's encoder makes of the batch; None for a decoder alone."""
    if not model.config.is_encoder_decoder:
        return None
    encoder: Any = model.get_encoder()
    takes = inspect.signature(encoder.forward).parameters
    hidden_BLH: torch.Tensor = encoder(**{name: each for name, each in batch.items() if name in takes})[0]
    return hidden_BLH


def _inputs(batch: Batch, hidden_BLH: torch.Tensor | None) -> Mapping[str, Any]:
    from transformers.modeling_outputs import BaseModelOutput

    return dict(batch) if hidden_BLH is None else {**batch, "encoder_outputs": BaseModelOutput(hidden_BLH)}


def _log_likelihoods(
    model: PreTrainedModel,
    batch: Batch,
    hidden_BLH: torch.Tensor | None,
    ids_NT: torch.Tensor,
    counted_NT: torch.Tensor,
) -> torch.Tensor:
    """(N,) summed log probabilities of the tokens that were written and count."""
    import torch

    share = len(ids_NT) // len(next(iter(batch.values())))
    rows = torch.arange(len(ids_NT), device=ids_NT.device)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    chunks = rows.split(max(1, LOGITS // (vocabulary * ids_NT.shape[1])))  # type: ignore[no-untyped-call]
    parts = [
        _read(
            model,
            {name: tensor[some // share] for name, tensor in batch.items()},
            None if hidden_BLH is None else hidden_BLH[some // share],
            ids_NT[some],
            counted_NT[some],
        )
        for some in chunks
    ]
    return torch.cat(parts)


def _read(
    model: PreTrainedModel,
    batch: Batch,
    hidden_BLH: torch.Tensor | None,
    ids_NT: torch.Tensor,
    counted_NT: torch.Tensor,
) -> torch.Tensor:
    from torch.nn.functional import cross_entropy, pad

    given = dict(_inputs(batch, hidden_BLH))
    if hidden_BLH is not None:
        given["decoder_input_ids"] = ids_NT[:, :-1]
    else:
        given["input_ids"] = ids_NT[:, :-1]
        if "attention_mask" in batch:
            more = ids_NT.shape[1] - 1 - batch["attention_mask"].shape[1]
            given["attention_mask"] = pad(batch["attention_mask"], (0, more), value=1)
    logits_NTV = model(**given, use_cache=False).logits[:, -counted_NT.shape[1] :]
    wanted_NT = ids_NT[:, -counted_NT.shape[1] :].masked_fill(~counted_NT, IGNORED)
    losses_NT = cross_entropy(logits_NTV.float().transpose(1, 2), wanted_NT, ignore_index=IGNORED, reduction="none")
    return -losses_NT.sum(1)
