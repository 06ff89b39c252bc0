"""Own architectures in transformers' Auto classes, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOW = (
    "print(type(AutoConfig.from_pretrained(folder)).__name__, type(AutoModel.from_pretrained(folder)).__name__, "
    "type(AutoTokenizer.from_pretrained(folder)).__name__)"
)
AUTO = "from transformers import AutoConfig, AutoModel, AutoTokenizer"


@pytest.mark.parametrize("order", [("import pipelines.{0}", AUTO), (AUTO, "import pipelines.{0}")])
@pytest.mark.parametrize(
    ("family", "shown"),
    [
        ("retribert", "RetriBertConfig RetriBertModel BertTokenizer"),
        ("realm", "RealmConfig RealmEmbedder BertTokenizer"),
    ],
)
def test_auto_classes_know_the_family(tiny, family, shown, order):
    folder = tiny(family, "features")
    lines = ["import sys", *(line.format(family) for line in order), f"folder = {str(folder)!r}", SHOW]
    done = subprocess.run([sys.executable, "-c", "; ".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == shown.split()
