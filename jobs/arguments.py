"""What ``manta run`` and ``manta train`` take, as dataclasses: the ``run:`` and ``train:`` sections of a config file.

Each field's docstring is the option's help text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stages.errors import UsageError


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
    max_attempts: int = 0
    """rows that failed so often are not tried again, whatever --retry says; 0 sets no limit"""
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
class ScheduleArguments:
    """``manta schedule``: the ``schedule:`` section beside ``run:`` in one file."""

    cron: str = ""
    """minute, hour, day of month, month, day of week, as in 30 2 * * 1-5; a sixth field in front is the second"""
    time_zone: str = "UTC"
    """where the clock of cron stands, as in Europe/Berlin"""
    keep_records: int = 100
    """run records kept in OUTPUT/runs/, the newest; 0 keeps all"""

    def __post_init__(self) -> None:
        if self.keep_records < 0:
            raise UsageError(f"schedule.keep_records must be 0 or more, not {self.keep_records}")


@dataclass(frozen=True, kw_only=True)
class KubernetesArguments:
    """``manta schedule --manifest``: the ``kubernetes:`` section."""

    name: str = ""
    """of the CronJob; default: manta- and the config file's name"""
    namespace: str = ""
    """where it lives; default: that of kubectl's context"""
    image: str = "manta:0.1.0"
    """image of infra/docker, which sends the run"""
    address: str = "http://manta-head-svc:8265"
    """dashboard of the Ray cluster that runs it"""
    token_secret: str = "manta-ray-token"  # noqa: S105 - the name of a Secret
    """Secret whose key auth_token is the cluster's token"""


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
    encoder: str | None = None
    """instead of --checkpoint, of a family whose models have two parts: the encoder's, or the image tower's"""
    decoder: str | None = None
    """and the decoder's, or the text tower's; what joins the two begins with random weights"""
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
