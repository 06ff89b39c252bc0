"""The model card: what a trained checkpoint was made of, for the people who find it later.

A README.md with the front matter that the Hugging Face Hub reads
(https://huggingface.co/docs/hub/model-cards#model-card-metadata).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

import pipelines
from jobs.tracking_store import redact
from pipelines import Metric, Task

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow", "mlflow")
"""What a trained checkpoint is loaded and answered with."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def installed() -> dict[str, str]:
    """Name to version of ``PACKAGES``, without what a version says of the hardware it was built for."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Data:
    """Rows with right answers, as the record and the card name them."""

    name: str
    """The file's or folder's own name."""
    digest: str
    """Of the content: the same rows in another place have the same one."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is told of a trained checkpoint."""

    family: str
    task: Task
    """With the checkpoint that training started from."""
    data: Data
    evaluation: Data | None
    metrics: Mapping[str, float]
    metric: Metric
    """The one of them that decides."""
    settings: Mapping[str, object]
    """Of the training, by name."""
    steps: int
    packages: Mapping[str, str] = field(default_factory=installed)

    def text(self, name: str) -> str:
        """README.md of the model called ``name``."""
        parts = [self._head(), f"# {name}", self._about(), self._results(), self._made_of(), self._use()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _head(self) -> str:
        known: dict[str, object] = {
            "library_name": "transformers",
            "pipeline_tag": self.task.name,
            "tags": ["manta", self.family],
            "license": licence_of(self.family, self.task) or "unknown",
        }
        if base := self._base_id():
            known["base_model"] = base.partition("@")[0]
        return f"---\n{yaml.safe_dump(known, sort_keys=False).strip()}\n---"

    def _base_id(self) -> str:
        ref = self.task.checkpoint.ref
        there = ref.startswith(("/", "./", "../", "~")) or Path(ref).expanduser().is_dir()
        return ref if not there and _HUB_ID.fullmatch(ref) else ""

    def _base(self) -> str:
        """The checkpoint that training started from; of a local folder only its own name."""
        ref = self.task.checkpoint.ref
        named = self._base_id() or (redact(ref) if "://" in ref or ref.startswith("models:/") else Path(ref).name)
        return f"`{named}` (content sha256 `{self.task.checkpoint.content[:16]}…`)"

    def _about(self) -> str:
        notice = pipelines.family(self.family).notice
        told = f"Fine-tuned for `{self.task.name}` with Manta, family `{self.family}`."
        licence = licence_of(self.family, self.task)
        terms = f"The base model's licence is {licence}." if licence else "The base model's licence is not known here."
        return f"{told} Started from {self._base()}. {terms}" + (f" Note: {notice}." if notice else "")

    def _results(self) -> str:
        if self.evaluation is None:
            return "## Results\n\nIt was not judged: there were no evaluation rows."
        rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(self.metrics.items()))
        judged = f"On {self.evaluation.rows} rows of `{self.evaluation.name}` (digest `{self.evaluation.digest}`):"
        return f"## Results\n\n{judged}\n\n| metric | value |\n|---|---|\n{rows}"

    def _made_of(self) -> str:
        settings = "\n".join(f"| {name} | {value} |" for name, value in self.settings.items())
        versions = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"## Training\n\n{self.data.rows} rows of `{self.data.name}` (digest `{self.data.digest}`), "
            f"{self.steps} steps.\n\n| setting | value |\n|---|---|\n{settings}\n\nMade with {versions}."
        )

    def _use(self) -> str:
        call = f"manta run {self.family} --task {self.task.name} --input FILES --output OUT --checkpoint REFERENCE"
        limits = "It answers for data like what it was trained on; it was judged on nothing but what is told above."
        return f"## Use\n\n```\n{call}\n```\n\n{limits}"


def licence_of(family: str, task: Task) -> str:
    """The licence of what training started from, as the Hub spells it; empty where it is not known."""
    found = pipelines.family(family)
    if task.checkpoint.ref in found.checkpoints.values():
        return found.licence.lower()
    card = task.checkpoint.folder / "README.md"
    if not card.is_file():
        return ""
    head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        known = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return ""
    told = known.get("license") if isinstance(known, dict) else None
    return told if isinstance(told, str) and told != "unknown" else ""


def requirements(packages: Mapping[str, str]) -> list[str]:
    """The packages as pinned requirements."""
    return [f"{name}=={number}" for name, number in packages.items()]
