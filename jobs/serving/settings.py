"""What can be set of an endpoint, as frozen dataclasses; each field's docstring is its help text and gives its unit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stages.bounds import check, check_numbers
from stages.settings import Limits, Ocr, Predict, Render, Settings, TextMode


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The HTTP side: section ``serve``."""

    host: str = "127.0.0.1"
    """address that HTTP listens on; others than loopback need keys"""
    port: int = 8000
    """port that HTTP listens on"""
    keys_env: str = ""
    """environment variable that holds the keys, one a line or joined by commas, each KEY or NAME=KEY"""
    keys_file: str = ""
    """file that holds the keys, in the same form"""
    body_mb: float = 64.0
    """largest request body and largest document, in megabytes (10^6 bytes)"""
    pages: int = 200
    """most pages of one document"""
    rows: int = 256
    """most rows of one request"""
    seconds: float = 600.0
    """longest recording or video, in seconds"""
    timeout_s: float = 120.0
    """longest time for one request, in seconds"""
    queue: int = 64
    """most requests at once in one ingress replica; one more is answered 429"""
    queue_mb: float = 512.0
    """most bytes of request bodies at once in one ingress replica, in megabytes (10^6 bytes)"""
    replicas: int = 1
    """ingress replicas"""

    def __post_init__(self) -> None:
        check(0 < self.port < 65536, "serve.port", "between 1 and 65535", self.port)
        check(bool(self.host), "serve.host", "an address", self.host)
        limits = ("body_mb", "pages", "rows", "seconds", "timeout_s", "queue", "queue_mb", "replicas")
        check_numbers("serve", self, above_0=limits)
        check(self.queue_mb >= self.body_mb, "serve.queue_mb", "at least serve.body_mb", self.queue_mb)

    @property
    def body_bytes(self) -> int:
        """``body_mb`` in bytes."""
        return int(self.body_mb * 1e6)


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The processes that read documents: section ``documents``."""

    replicas: int = 1
    """processes that read; each reads one page at a time, on one core"""
    max_replicas: int = 0
    """most of them, by load; 0: always ``replicas``"""
    cpus: float = 0.5
    """CPUs that Ray sets aside for each"""

    def __post_init__(self) -> None:
        _check_replicas("documents", self.replicas, self.max_replicas)
        check_numbers("documents", self, from_0=("cpus",))


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: an entry of ``models``, or section ``model`` where a family is served straight."""

    family: str = ""
    """a family of `manta families`"""
    task: str = ""
    """one of the family's tasks"""
    name: str = ""
    """its name in URLs; default: FAMILY-TASK"""
    checkpoint: str = ""
    """Hub id (org/name@revision), folder, s3:// folder or MLflow model (models:/name@alias); default: the family's"""
    beside: str = ""
    """name of another model in whose processes it runs, which saves memory for small ones; sizes are then that one's"""
    replicas: int = 1
    """processes"""
    max_replicas: int = 0
    """most of them, by load; 0: always ``replicas``"""
    cpus: float = 1.0
    """CPUs that Ray sets aside for each process"""
    gpus: float = 0.0
    """GPUs that Ray sets aside for each process"""
    memory_mb: int = 0
    """memory that Ray sets aside for each process, in 2^20 bytes; 0 leaves it to Ray"""
    threads: int = 0
    """CPU threads of each process; 0 takes ``cpus``, rounded up"""
    wait_ms: float = 5.0
    """how long a batch waits to be filled, in milliseconds"""

    def __post_init__(self) -> None:
        check(bool(re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", self.called)), "name", "letters, digits, _ . -", self.called)
        _check_replicas("model", self.replicas, self.max_replicas)
        check_numbers("model", self, from_0=("cpus", "gpus", "memory_mb", "threads", "wait_ms"))

    @property
    def called(self) -> str:
        """Its name in URLs."""
        return self.name or f"{self.family}-{self.task}"


def _check_replicas(section: str, least: int, most: int) -> None:
    check(least >= 1, f"{section}.replicas", "1 or more", least)
    check(most == 0 or most >= least, f"{section}.max_replicas", "0, or at least replicas", most)


@dataclass(frozen=True, kw_only=True)
class Sections:
    """The sections of a config file beside ``models``."""

    serve: Endpoint = field(default_factory=Endpoint)
    documents: Documents = field(default_factory=Documents)
    render: Render = field(default_factory=Render)
    ocr: Ocr = field(default_factory=Ocr)
    text: TextMode = "auto"
    """where words come from: auto, layer or ocr"""

    @property
    def reading(self) -> Settings:
        """How documents are read, with what a request may ask for as limits."""
        limits = Limits(file_mb=self.serve.body_mb, pages=self.serve.pages, seconds=self.serve.seconds)
        return Settings(render=self.render, ocr=self.ocr, text=self.text, limits=limits)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A model with its options."""

    model: Model
    predict: Predict = field(default_factory=Predict)
    options: object = None
    """The task's options; its defaults where None."""


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """All of an endpoint."""

    sections: Sections = field(default_factory=Sections)
    models: tuple[ModelConfig, ...] = ()
