"""One checkpoint made of two: an encoder's and a decoder's, or an image tower's and a text tower's.

What joins them (cross attention, projections) has random weights until it is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.checkpoint import at_hand
from pipelines.family import Checkpoint
from pipelines.tasks.loading import load_preprocessor, load_tokenizer, quiet
from stages.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Build = Callable[[Checkpoint, Checkpoint, Path], None]


def encoder_decoder(model_class: str, preprocessor: str) -> Build:
    """Builds ``model_class`` of transformers; ``preprocessor`` is the Auto class of the encoder's own."""

    def build(encoder: Checkpoint, decoder: Checkpoint, folder: Path) -> None:
        model = _joined(model_class, "from_encoder_decoder_pretrained", encoder, decoder)
        tokenizer: Any = load_tokenizer(decoder, fast=False)
        ends = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        starts = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
        if ends is None or starts is None:
            raise CheckpointError(f"{decoder.ref} has no tokens that begin and end a text: choose another decoder")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(ends)
        special = {"decoder_start_token_id": starts, "eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id}
        for name, number in special.items():
            setattr(model.config, name, number)
            setattr(model.generation_config, name, number)
        _save(folder, model, tokenizer, load_preprocessor(encoder, preprocessor))

    return build


def dual_encoder(vision: Checkpoint, text: Checkpoint, folder: Path) -> None:
    """Builds a VisionTextDualEncoderModel of an image tower and a text tower."""
    model = _joined("VisionTextDualEncoderModel", "from_vision_text_pretrained", vision, text)
    _save(folder, model, load_tokenizer(text), load_preprocessor(vision, "AutoImageProcessor"))


def _joined(model_class: str, how: str, first: Checkpoint, second: Checkpoint) -> PreTrainedModel:
    import transformers

    paths = (str(at_hand(first)), str(at_hand(second)))
    try:
        with quiet():
            found: PreTrainedModel = getattr(getattr(transformers, model_class), how)(*paths)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = first_line(error, 300)
        raise CheckpointError(f"{first.ref} and {second.ref} do not make a {model_class}: {cause}") from error
    return found


def _save(folder: Path, model: PreTrainedModel, *more: Any) -> None:  # noqa: ANN401  tokenizers and processors
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(folder)
    for one in more:
        one.save_pretrained(folder)
