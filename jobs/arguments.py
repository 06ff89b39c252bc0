"""What ``manta run`` and ``manta train`` take, as dataclasses: the ``run:`` and ``train:`` sections of a config file.

Each field's docstring is the option's help text.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """``manta run``."""

    family: str | None = None
    """a family of `manta families`, or text, which reads documents without a model"""
    task: str | None = None
    """one of the family's tasks"""
    input: tuple[str, ...] = ()
    """files, folders, globs, s3:// prefixes, or .parquet and .jsonl tables; may be given several times"""
    output: str | None = None
    """folder or s3:// prefix for pages/, results/, documents/, errors/ and runs/"""
    checkpoint: str | None = None
    """Hub id (org/name@revision), folder, s3:// folder or MLflow model (models:/name@alias); default: the family's"""
    map: dict[str, str] = field(default_factory=dict)
    """takes a task's column from another one of the table, nested paths too: question=query.en"""
    retry: tuple[str, ...] = ()
    """error codes, joined by commas, whose rows are tried again"""
    limit: int | None = None
    """most documents to do in this run"""
    address: str | None = None
    """a Ray cluster to join: auto, or host:port; default: one of its own on this machine"""
    max_error_rate: float = 0.1
    """share of pages, after the first 100, that may fail for the machine's fault before the run stops"""
    pages: str | None = None
    """keeps pages/ in this folder, so that several outputs share it; default: in the output"""
    prune: bool = False
    """drops rows of documents that are no longer listed"""
    allow_errors: bool = False
    """exits with 0 although rows are in the error table"""


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """``manta train``."""

    family: str | None = None
    """a family of `manta families`"""
    task: str | None = None
    """one of the family's tasks that can be trained"""
    data: str | None = None
    """a .parquet or .jsonl table with what the task reads and its right answers, or labelled data: tables with spans,
    CoNLL files, FUNSD's or SROIE's folders, SQuAD's JSON"""
    eval_data: str | None = None
    """rows like those of --data that training never sees, to judge it by; the best state is kept"""
    checkpoint: str | None = None
    """what to start from: Hub id (org/name@revision), folder, s3:// folder or MLflow model; default: the family's"""
    output: str | None = None
    """folder or s3:// prefix for model/, which --checkpoint takes, train.json, and checkpoints until it has ended"""
    resume: bool = False
    """go on from the last checkpoint of a training in --output that did not end; does nothing more where it did"""
    register: str | None = None
    """name under which the trained model goes into MLflow's registry: --checkpoint models:/NAME@champion finds it"""
    push_to_hub: str | None = None
    """Hugging Face Hub repository (OWNER/NAME) that the trained model is uploaded to, made private where it is not
    there; the token is that of HF_TOKEN"""
    workers: int | None = None
    """processes that share a step; default: one a GPU, else one a CPU"""
    address: str | None = None
    """a Ray cluster to join: auto, or host:port; default: one of its own on this machine"""
