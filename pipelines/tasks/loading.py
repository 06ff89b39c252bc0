"""Loading a checkpoint's parts on a worker: tokenizer, configuration, weights. Nothing is fetched, no code is run.

Weights come from safetensors, or from a pickle through torch's weights-only loader, which refuses code (transformers 5
calls it so). A checkpoint that lacks weights of the task's head is refused: random answers look like answers.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

from pipelines.checkpoint import at_hand
from pipelines.family import Checkpoint
from stages.errors import CheckpointError, first_line
from stages.hardware import use_threads

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast


def load_tokenizer(checkpoint: Checkpoint, *, fast: bool = True) -> PreTrainedTokenizerFast:
    """The checkpoint's fast tokenizer. Raises CheckpointError where it has none.

    ``fast=False`` admits one in Python, for architectures that have no other; it lacks the backend's methods.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer = AutoTokenizer.from_pretrained(at_hand(checkpoint), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        cause = first_line(error, 300)
        raise CheckpointError(f"{checkpoint.ref} has no tokenizer that can be loaded: {cause}") from error
    if fast and not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(f"{checkpoint.ref} has only a slow tokenizer; save it with a tokenizer.json")
    return cast("PreTrainedTokenizerFast", tokenizer)


def load_preprocessor(checkpoint: Checkpoint, auto_class: str, **how: str) -> Any:  # noqa: ANN401
    """The checkpoint's image processor (``AutoImageProcessor``) or feature extractor (``AutoFeatureExtractor``)."""
    import transformers

    try:
        return getattr(transformers, auto_class).from_pretrained(
            at_hand(checkpoint), local_files_only=True, trust_remote_code=False, **how
        )
    except (OSError, ValueError, KeyError) as error:
        what = "image processor" if auto_class == "AutoImageProcessor" else "feature extractor"
        cause = first_line(error, 300)
        raise CheckpointError(f"{checkpoint.ref} has no {what} that can be loaded: {cause}") from error


def load_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """The checkpoint's configuration: label names, sizes, problem type."""
    from transformers import AutoConfig

    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            at_hand(checkpoint), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        cause = first_line(error, 300)
        raise CheckpointError(f"{checkpoint.ref} has no configuration that can be read: {cause}") from error
    return config


OFFSET_POSITIONS = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet", "roberta", "xmod"}
    | {"roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"}
)
"""Models whose positions count from the padding's number on, so that they take fewer tokens than they have positions
(a choice of fairseq's, where RoBERTa comes from)."""


def most_tokens(config: PreTrainedConfig) -> int | None:
    """The tokens that the model's positions allow, special ones included; None where it has no such limit."""
    size = getattr(config, "max_position_embeddings", None)
    if not size:
        return None
    return int(size) - (config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0)


def load_weights(
    checkpoint: Checkpoint,
    auto_class: str,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    unused: Sequence[str] = (),
    allow_random_head: bool = False,
    config: Mapping[str, object] | None = None,
) -> PreTrainedModel:
    """The checkpoint as a model of ``auto_class`` (see ``model_class``), for inference, with SDPA where it has it.

    ``unused``: patterns (re.match) of weights that the task never looks at, such as a pooler; they may be missing.
    ``config``: values that replace those of config.json (``is_decoder=True``).
    Raises CheckpointError naming the weights that the task needs and the checkpoint lacks, or whose shape is another,
    unless ``allow_random_head`` (training starts from such a checkpoint).
    """
    import torch
    from safetensors import SafetensorError

    how: dict[str, Any] = {"dtype": dtype, "local_files_only": True, "trust_remote_code": False, **(config or {})}
    use_threads(0)  # with more than OpenMP gives, a convolution's backward never ends (torch 2.13, oneDNN 3.12)
    if torch.device(device).type == "meta":
        how["device_map"] = "meta"  # reads names and shapes only
    try:
        with quiet():
            model, found = model_class(auto_class).from_pretrained(
                at_hand(checkpoint), output_loading_info=True, ignore_mismatched_sizes=True, **how
            )
    except UnpicklingError as error:
        message = f"{checkpoint.ref} holds pickled weights with code in them, which is refused: get it as safetensors"
        raise CheckpointError(message) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        cause = first_line(error, 300)
        raise CheckpointError(f"{checkpoint.ref} cannot be loaded as {auto_class}: {cause}") from error
    random = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    random = [key for key in random if not any(re.match(pattern, key) for pattern in unused)]
    if random and not allow_random_head:
        raise CheckpointError(
            f"{checkpoint.ref} lacks weights that this task needs ({', '.join(random[:4])}"
            f"{', …' if len(random) > 4 else ''}): its answers would be random. Fine-tune it first with manta train, "
            "choose a checkpoint made for this task, or say --set task.allow_random_head=true",
        )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def model_class(name: str) -> Any:  # noqa: ANN401  PreTrainedModel, or an Auto class, which is none
    """The class of that name in transformers; with its module (``pipelines.family.model.Class``), one of our own."""
    import transformers

    module, _, own = name.rpartition(".")
    return getattr(importlib.import_module(module), own) if module else getattr(transformers, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' progress bar and its table of missing weights: ``load_weights`` says what matters."""
    from transformers.utils import logging as talk

    bar, level = talk.is_progress_bar_enabled(), talk.get_verbosity()
    talk.disable_progress_bar()  # type: ignore[no-untyped-call]
    talk.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bar:
            talk.enable_progress_bar()  # type: ignore[no-untyped-call]
