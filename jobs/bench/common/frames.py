"""all-MiniLM-L6-v2 in the frames of RetriBERT and REALM, which take a text's vector from its first token.

MiniLM was trained to give the mean of all tokens' vectors. One more layer gives every token that mean: its attention
looks at all tokens alike (queries and keys are 0), passes on what it sees, AVERAGE times as strongly as the token's own
vector, and its feed-forward part adds nothing. The pooler's tanh sees it so small that it is a straight line. What
comes out is MiniLM's own vector, without the part that all its numbers share (its layer norm takes that away).

H hidden size, P projection size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.bench.common.minilm import SHARED, package_folder

if TYPE_CHECKING:
    import torch
    from transformers import BertModel

AVERAGE = 1000.0
"""How much stronger the mean is than the token's own vector."""
SMALL = 0.01
"""What the pooler multiplies its input with."""
SHARPNESS = 20.0
"""Relevance of a text to itself: the scale of cosines that MiniLM was trained with."""
READ, SCORED = 3, 16
"""Blocks that REALM reads for a question, and those that it scores in training."""
TOKENS = 128
"""Question and block together."""


def write_retribert(folder: Path) -> None:
    """Writes a RetriBERT whose vectors, of length 1, are MiniLM's. Raises UsageError where the package is missing."""
    import torch

    from pipelines.retribert.model import RetriBertModel
    from pipelines.retribert.settings import RetriBertConfig, RetriBertTokenizer
    from pipelines.tasks.loading import quiet

    with quiet(), torch.no_grad():
        bert = _minilm()
        known = _sizes(bert)
        model = RetriBertModel(RetriBertConfig(**known, projection_dim=known["hidden_size"]))
        _averaging(model.bert_query, bert)
        for project in (model.project_query, model.project_doc):
            project.weight.copy_(_scaled(known["hidden_size"], 1 / (SMALL * known["hidden_size"] ** 0.5)))
        model.save_pretrained(folder)
        RetriBertTokenizer.from_pretrained(package_folder()).save_pretrained(folder)


def write_realm(folder: Path, blocks: Sequence[str]) -> None:
    """Writes a REALM that finds blocks as MiniLM does and has not learned to read answers.

    Its blocks have no vectors yet: training embeds them (``task.refresh_steps``).
    """
    import torch

    from pipelines.realm.reader import RealmForOpenQA
    from pipelines.realm.retriever import save_blocks
    from pipelines.realm.settings import RealmConfig, RealmTokenizer
    from pipelines.tasks.loading import quiet

    with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        bert = _minilm()
        known = _sizes(bert)
        wide = known["hidden_size"]
        config = RealmConfig(
            **known,
            retriever_proj_size=wide,
            num_block_records=len(blocks),
            reader_beam_size=READ,
            reader_seq_len=TOKENS,
            searcher_beam_size=SCORED,
        )
        model = RealmForOpenQA(config)
        _averaging(model.embedder.realm, bert)
        model.embedder.cls.dense.weight.copy_(_scaled(wide, 1 / SMALL))
        model.embedder.cls.dense.bias.zero_()
        model.embedder.cls.LayerNorm.weight.fill_((SHARPNESS / wide) ** 0.5)
        _load(model.reader.realm, bert)
        last: Any = model.reader.realm.encoder.layer[-1]
        for dense in (last.attention.output.dense, last.output.dense):  # adds nothing until it has learned to
            dense.weight.zero_()
        model.save_pretrained(folder)
        RealmTokenizer.from_pretrained(package_folder()).save_pretrained(folder)
    save_blocks(blocks, folder)


def _minilm() -> BertModel:
    from transformers import BertModel

    return BertModel.from_pretrained(package_folder(), add_pooling_layer=False)


def _sizes(bert: BertModel) -> dict[str, Any]:
    """MiniLM's, and one layer more."""
    known = {name: value for name, value in bert.config.to_dict().items() if name in SHARED}
    return {**known, "num_hidden_layers": bert.config.num_hidden_layers + 1}


def _load(model: Any, bert: BertModel) -> None:  # noqa: ANN401 - a BertModel, whose parts are untyped
    missing, unknown = model.load_state_dict(bert.state_dict(), strict=False)
    assert not unknown, unknown
    last = f"encoder.layer.{bert.config.num_hidden_layers}."
    assert all(name.startswith((last, "pooler.")) for name in missing), missing


def _averaging(model: Any, bert: BertModel) -> None:  # noqa: ANN401
    """MiniLM, and the layer that averages."""
    _load(model, bert)
    layer, wide = model.encoder.layer[-1], bert.config.hidden_size
    for parameter in layer.parameters():
        parameter.zero_()
    layer.attention.self.value.weight.copy_(_scaled(wide, 1.0))
    layer.attention.output.dense.weight.copy_(_scaled(wide, AVERAGE))
    for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
        norm.weight.fill_(1.0)
    model.pooler.dense.weight.copy_(_scaled(wide, SMALL))
    model.pooler.dense.bias.zero_()


def _scaled(wide: int, by: float) -> torch.Tensor:
    """(H, H), ``by`` times the identity."""
    import torch

    return by * torch.eye(wide)
