"""Own architectures in transformers' Auto classes, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAMILIES = {
    "retribert": "RetriBertConfig RetriBertModel BertTokenizer",
    "realm": "RealmConfig RealmEmbedder BertTokenizer",
}
SHOW = (
    "[print(*(type(auto.from_pretrained(folder)).__name__ for auto in (AutoConfig, AutoModel, AutoTokenizer))) "
    "for folder in sys.argv[1:]]"
)
AUTO = "from transformers import AutoConfig, AutoModel, AutoTokenizer"
OWN = f"import {', '.join(f'pipelines.{name}' for name in FAMILIES)}"


@pytest.mark.parametrize("order", [(OWN, AUTO), (AUTO, OWN)], ids=["ours first", "theirs first"])
def test_auto_classes_know_the_families(tiny, order):
    code = "; ".join(["import sys", *order, SHOW])
    folders = [str(tiny(name, "features")) for name in FAMILIES]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(FAMILIES.values())
