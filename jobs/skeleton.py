"""``manta families --new NAME``: a package with a new family in it. It works as it is written, and waits to be changed.

The module does as well as a file of ``pipelines/``, by the family's name.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import pipelines
from stages.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_]*")

_PROJECT = """\
[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "manta-{dashed}"
version = "0.1.0"
description = "The model family {name} for Manta"
requires-python = ">=3.11"
dependencies = ["manta"]

[project.entry-points."manta.families"]
{name} = "manta_{name}:FAMILY"

[tool.setuptools]
py-modules = ["manta_{name}"]
"""

_FAMILY = '''\
"""{name}: what it is, and who made it (Author et al. 2026, link to the paper)."""

from __future__ import annotations

from pathlib import Path

from pipelines.family import Family
from pipelines.tasks.features import Features
from pipelines.tasks.text_classification import TextClassification
from pipelines.tasks.tiny import vocabulary, write_model, write_tokenizer

CLASSES = {{"features": "BertModel", "text-classification": "BertForSequenceClassification"}}
"""The class of transformers that each task's checkpoint is made of."""
LABELS = ("negative", "neutral", "positive")


def tiny(folder: Path, task: str) -> None:
    """Two layers of random weights, on which the contract is checked; answers must differ from row to row."""
    from transformers import BertConfig

    write_tokenizer(folder, max_length=64)
    config = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        id2label=dict(enumerate(LABELS)),
        label2id={{label: number for number, label in enumerate(LABELS)}},
    )
    write_model(folder, CLASSES[task], config)


FAMILY = Family(
    summary="what it is for, in one line",
    tasks=(Features, TextClassification),
    checkpoints={{"": "google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594"}},
    licence="Apache-2.0",
    tiny=tiny,
    model_types=("bert",),
)
'''

_TEST = '''\
"""The family keeps Manta's contract. Give ``references`` for the right answers: see pipelines/contract."""

from __future__ import annotations

from pipelines.contract import check_family


def test_the_family_keeps_the_contract() -> None:
    check_family("{name}")
'''


def write_skeleton(name: str, parent: Path) -> Path:
    """Writes ``parent``/manta-NAME and returns it. Raises UsageError for a name that will not do, or is taken."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"a family's name is a Python module's: small letters, digits and _, not {name!r}")
    if name in pipelines.families():
        raise UsageError(f"there is a family {name!r} already: take another name")
    dashed = name.replace("_", "-")
    folder = parent / f"manta-{dashed}"
    if folder.exists():
        raise UsageError(f"{folder} exists already: remove it, or take another name")
    files = {"pyproject.toml": _PROJECT, f"manta_{name}.py": _FAMILY, f"test_{name}.py": _TEST}
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text.format(name=name, dashed=dashed), encoding="utf-8")
    return folder
