"""Tiny checkpoints with random weights and a small real WordPiece vocabulary: what tests and a first try run on.

Weights are drawn wider than a fresh model's (``initializer_range`` 0.3), so that answers differ from text to text and
a wrong mask or position shows in them.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation + "éèüöäßñç£€"
ENDINGS = ("s", "ed", "ing", "er", "ly", "es", "ion", "al", "ment", "ness", "able", "un", "th")
WORDS = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one
you were all her she there would their we him been has when who will no more if out so what up said its about than
into them can only other time new some could these two may first then do any like my now over such our man me even
most made after also did many off before must well back through years where much your way down should because long
each just state people those too mr how little good world make very year still see own work men day get here old life
both between being under three never know same last another while us might great go come since against right came take
used himself few house during without again place around home small found thought went say part once general high upon
school every invoice total date number amount due tax price order customer company address name street city bank
account payment item quantity unit paris london berlin france england capital river mountain sky blue red green dog
cat cute hello pizza served bright happy question answer movie film bad best worst love hate music book paper receipt
cash change tel fax page
""".split()  # noqa: SIM905


def vocabulary() -> dict[str, int]:
    """Pieces and their numbers: special ones, characters, endings and frequent words (about 500)."""
    pieces = [*SPECIAL, *CHARACTERS, *(f"##{each}" for each in (*CHARACTERS, *ENDINGS)), *WORDS]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def write_tokenizer(folder: Path, *, max_length: int, tokenizer_class: str = "BertTokenizer") -> None:
    """A lower-casing WordPiece tokenizer, as BERT and LayoutLM have."""
    import transformers

    getattr(transformers, tokenizer_class)(vocabulary(), model_max_length=max_length).save_pretrained(folder)


def write_bpe_tokenizer(
    folder: Path,
    *,
    max_length: int,
    tokenizer_class: str = "RobertaTokenizer",
    entity_vocab: Mapping[str, int] | None = None,
) -> int:
    """A byte-level BPE tokenizer, as RoBERTa and LUKE have, that knows WORDS; returns how many pieces it has.

    ``entity_vocab`` is LUKE's: titles of entities and their numbers.
    """
    import json

    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learnt.train_from_iterator([" ".join([*WORDS, *(word.title() for word in WORDS)])], trainer)
    model = json.loads(learnt.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    entities = {} if entity_vocab is None else {"entity_vocab": dict(entity_vocab)}
    make = getattr(transformers, tokenizer_class)
    tokenizer = make(vocab=model["vocab"], merges=merges, model_max_length=max_length, **entities)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def write_model(
    folder: Path,
    model_class: str,
    config: PreTrainedConfig,
    *,
    seed: int = 0,
    max_new_tokens: int = 0,
) -> None:
    """A model of a class (see ``pipelines.tasks.loading.model_class``) with random weights, the same each time.

    ``max_new_tokens`` is the length at which a model that writes stops by itself.
    """
    import torch

    from pipelines.tasks.loading import model_class as find
    from pipelines.tasks.loading import quiet

    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        model = find(model_class)(config)
        for name, weight in model.named_parameters():
            if name.endswith("bias"):  # zero in a fresh model, which would hide a lost bias
                torch.nn.init.normal_(weight, std=getattr(config, "initializer_range", 0.3))
        if max_new_tokens:
            model.generation_config.update(max_new_tokens=max_new_tokens, max_length=None)
        model.save_pretrained(folder)


def clip_vocabulary() -> dict[str, int]:
    """Pieces of a byte-level vocabulary as CLIP's: characters, within a word and at its end, and the special ones."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    characters = list(bytes_to_unicode().values())  # type: ignore[no-untyped-call]
    pieces = [*characters, *(f"{each}</w>" for each in characters), "<|startoftext|>", "<|endoftext|>"]
    return {piece: number for number, piece in enumerate(pieces)}


def write_clip_tokenizer(folder: Path, *, max_length: int) -> None:
    """A lower-casing byte-level tokenizer without merges, as CLIP and OWL-ViT have; it pads with its end token."""
    from transformers import CLIPTokenizer

    CLIPTokenizer(clip_vocabulary(), [], model_max_length=max_length).save_pretrained(folder)


def write_image_processor(
    folder: Path,
    processor_class: str,
    *,
    size: Mapping[str, int] | None = None,
    crop: int = 0,
    normal: tuple[float, float] | None = None,
) -> None:
    """A processor of a class of transformers; its defaults but for size, crop (0: none), and mean and deviation."""
    import transformers

    how: dict[str, Any] = {"size": dict(size)} if size else {}
    if normal:
        how["image_mean"], how["image_std"] = ([value] * 3 for value in normal)
    if crop:
        how["crop_size"] = {"height": crop, "width": crop}
    getattr(transformers, processor_class)(**how).save_pretrained(folder)
