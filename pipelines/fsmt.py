"""FSMT: Facebook's encoder-decoders of WMT 2019, one a direction (Ng et al. 2019, https://arxiv.org/abs/1907.06616)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.family import Family
from pipelines.tasks.tiny import CHARACTERS, WORDS, write_model
from pipelines.tasks.translation import Translation
from stages.errors import UsageError

if TYPE_CHECKING:
    from transformers import FSMTTokenizer


class FSMTTranslation(Translation):
    """Translates in the one direction that the checkpoint was trained for."""

    fast_tokenizer = False  # Moses' tokenizer before its pieces
    _target_tokenizer: FSMTTokenizer | None = None

    def languages(self) -> tuple[str, str]:
        """The checkpoint's source language; nothing stands before a text."""
        source, target = self.tokenizer.src_lang, self.tokenizer.tgt_lang
        asked = (self.options.source_lang or source, self.options.target_lang or target)
        if asked != (source, target):
            raise UsageError(
                f"{self.checkpoint.ref} translates {source} to {target}, not {asked[0]} to {asked[1]}: choose a "
                f"checkpoint for it, as in --checkpoint facebook/wmt19-{asked[0]}-{asked[1]}",
            )
        return str(source), ""

    def target_ids(self, text: str) -> list[int]:
        """The tokens of a translation, in the target's own language and vocabulary (wmt19-en-ru shares none)."""
        from transformers import FSMTTokenizer

        if self._target_tokenizer is None:
            own = self.tokenizer
            self._target_tokenizer = FSMTTokenizer(
                langs=[own.tgt_lang, own.src_lang],
                src_vocab_file=own.tgt_vocab_file,
                tgt_vocab_file=own.src_vocab_file,
                merges_file=own.merges_file,
                do_lower_case=own.do_lower_case,
            )
        ids: list[int] = self._target_tokenizer(text, verbose=False)["input_ids"]
        return ids


def tiny(folder: Path, task: str) -> None:  # noqa: ARG001 - it has one task
    """Two layers each, 32 wide, 64 tokens, at most 16 written; source and target number their pieces differently."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import FSMTConfig, FSMTTokenizer

    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = [*CHARACTERS, *CHARACTERS.upper()]
    trainer = trainers.BpeTrainer(
        vocab_size=700, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    learnt.train_from_iterator([" ".join([*(word.title() for word in WORDS), *letters])], trainer)
    model = json.loads(learnt.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    files = {"merges.txt": "".join(f"{' '.join(merge)}\n" for merge in model["merges"])}
    for name, order in (("vocab-src.json", pieces), ("vocab-tgt.json", pieces[::-1])):
        files[name] = json.dumps({piece: number for number, piece in enumerate([*special, *order])})
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    FSMTTokenizer(
        langs=["en", "de"],
        src_vocab_file=str(folder / "vocab-src.json"),
        tgt_vocab_file=str(folder / "vocab-tgt.json"),
        merges_file=str(folder / "merges.txt"),
        model_max_length=64,
    ).save_pretrained(folder)
    config = FSMTConfig(
        langs=["en", "de"],
        src_vocab_size=len(pieces) + len(special),
        tgt_vocab_size=len(pieces) + len(special),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        init_std=0.3,
        num_beams=2,
    )
    write_model(folder, "FSMTForConditionalGeneration", config, max_new_tokens=16)


FAMILY = Family(
    summary="translation between English and German or Russian, one checkpoint a direction",
    tasks=(FSMTTranslation,),
    checkpoints={"": "facebook/wmt19-en-de@main"},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("fsmt",),
)
