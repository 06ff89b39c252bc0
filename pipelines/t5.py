"""T5: an encoder-decoder that is told in words what to do (Raffel et al. 2019, https://arxiv.org/abs/1910.10683)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.tiny import CHARACTERS, WORDS, write_model
from pipelines.tasks.translation import Translation
from stages.errors import UsageError

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ro": "Romanian"}
"""Languages that T5 was trained to translate between, from English."""


class T5Translation(Translation):
    """Translates what stands behind ``translate English to German:``, as T5 was trained."""

    summary = "a text in another language, told by a prefix; with beams or drawn; long texts sentence by sentence"

    def languages(self) -> tuple[str, str]:
        """The source language (en) and the prefix of the pair (en to de), as the checkpoint has it."""
        source, target = self.options.source_lang or "en", self.options.target_lang or "de"
        told = getattr(self.config, "task_specific_params", None) or {}
        pairs = {
            name.removeprefix("translation_"): how for name, how in told.items() if name.startswith("translation_")
        }
        if f"{source}_to_{target}" in pairs:
            return source, str(pairs[f"{source}_to_{target}"]["prefix"])
        known = ", ".join(pairs) or f"any of {', '.join(LANGUAGES)}"
        if pairs or not {source, target} <= set(LANGUAGES):
            raise UsageError(f"{self.checkpoint.ref} does not translate {source} to {target}; it has: {known}")
        return source, f"translate {LANGUAGES[source]} to {LANGUAGES[target]}: "


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001 - it has one task
    """A T5 of two layers, 32 wide, that takes 64 tokens and writes at most 16."""
    from transformers import T5Config, T5Tokenizer

    pieces = dict.fromkeys(["▁", *(f"▁{word.title()}" for word in WORDS), *CHARACTERS, *CHARACTERS.upper()])
    scores = [(piece, -float(len(piece) == 1) * 5 - 1) for piece in pieces]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *scores]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0, additional_special_tokens=[], model_max_length=64)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        initializer_factor=4.0,
        decoder_start_token_id=0,
        task_specific_params={"translation_en_to_de": {"prefix": "translate English to German: "}},
    )
    write_model(folder, "T5ForConditionalGeneration", config, max_new_tokens=16)


FAMILY = Family(
    summary="encoder-decoder for texts; translates English to German, French and Romanian",
    tasks=(T5Translation,),
    checkpoints={"": "google-t5/t5-small@df1b051c49625cf57a3d0d8d3863ed4d13564fe4"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("t5",),
)
