"""Models of the usual sizes with random weights: speed does not depend on what they have learned. No hub.

``small`` ones are for trying a bench out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.family import Checkpoint
from pipelines.tasks.tiny import CHARACTERS, WORDS, write_bpe_tokenizer, write_model, write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedConfig

MAX_LENGTH = 512
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
LABELS = ("NIL", "MISC", "PER", "ORG", "LOC")
"""What LUKE tells apart, as trained on CoNLL 2003; the first is no entity."""
ENTITIES = ("[PAD]", "[UNK]", "[MASK]", "[MASK2]")


def bert_base(folder: Path, *, small: bool = False) -> Checkpoint:
    """BERT-base (12 layers, 768 wide, 512 tokens) for text classification, with a small vocabulary's tokenizer."""
    from transformers import BertConfig

    sizes: dict[str, Any] = SMALL if small else {}
    return _write(folder, "BertForSequenceClassification", BertConfig(**sizes))


def t5_small(folder: Path, *, prefix: str, written: int, small: bool = False) -> Checkpoint:
    """T5-small (6 + 6 layers, 512 wide) that writes ``written`` tokens, English to German behind ``prefix``.

    Its output layer is its own: tied to random embeddings, it would write the same token for ever.
    """
    from transformers import T5Config, T5Tokenizer

    folder.mkdir(parents=True)
    sizes: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4} if small else {}
    told: dict[str, Any] = {
        "decoder_start_token_id": 0,
        "task_specific_params": {"translation_en_to_de": {"prefix": prefix}},
        "tie_word_embeddings": False,
    }
    config = T5Config(**sizes, **told)
    known = dict.fromkeys(["▁", *(f"▁{word}" for word in (*WORDS, *prefix.split())), *CHARACTERS, *CHARACTERS.upper()])
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    others = (f"▁piece{number}" for number in range(config.vocab_size - len(special) - len(known)))
    scored = [(piece, -1.0 - 5.0 * (len(piece) == 1)) for piece in (*known, *others)]
    tokenizer = T5Tokenizer(
        vocab=special + scored, extra_ids=0, additional_special_tokens=[], model_max_length=MAX_LENGTH
    )
    tokenizer.save_pretrained(folder)
    write_model(folder, "T5ForConditionalGeneration", config, max_new_tokens=written)
    return _made(folder)


def luke_base(folder: Path, *, small: bool = False) -> Checkpoint:
    """LUKE-base (12 layers, 768 wide, 512 tokens) for named entities by spans."""
    from transformers import LukeConfig

    folder.mkdir(parents=True)
    entities = {title: number for number, title in enumerate(ENTITIES)}
    write_bpe_tokenizer(folder, max_length=MAX_LENGTH, tokenizer_class="LukeTokenizer", entity_vocab=entities)
    sizes: dict[str, Any] = SMALL if small else {}
    config = LukeConfig(
        entity_vocab_size=len(entities),
        max_position_embeddings=MAX_LENGTH + 2,
        initializer_range=0.05,  # labels differ from span to span, and scores by more than rounding (at 0.1 they tie)
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        **sizes,
    )
    write_model(folder, "LukeForEntitySpanClassification", config)
    return _made(folder)


def layoutlm_base(folder: Path) -> Checkpoint:
    """LayoutLM-base for questions."""
    from transformers import LayoutLMConfig

    return _write(folder, "LayoutLMForQuestionAnswering", LayoutLMConfig())


def _write(folder: Path, model_class: str, config: PreTrainedConfig) -> Checkpoint:
    folder.mkdir(parents=True)
    write_tokenizer(folder, max_length=MAX_LENGTH)
    write_model(folder, model_class, config)
    return _made(folder)


def _made(folder: Path) -> Checkpoint:
    return Checkpoint(ref=str(folder), path=str(folder), content="")


def flops(folder: Path, lengths: Iterable[int]) -> int:
    """Floating-point operations of one forward pass over sequences of these lengths, padding not counted.

    Per token and layer 8H² + 4HI for the projections and the two feed-forward products, and 4·L·H for attention
    (scores and weighted sum), each multiply-add counted as two; H hidden size, I intermediate size, L length.
    Embeddings, norms and heads are left out: below one per cent.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    wide, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return sum(layers * length * (8 * wide**2 + 4 * wide * inner + 4 * length * wide) for length in lengths)
