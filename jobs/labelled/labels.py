"""A checkpoint whose head has no label names yet takes those of the training data.

A base model's labels are ``LABEL_0`` and so on; a head for other labels is a new one, which training gives its weights.
A checkpoint that names its labels keeps them: rows with others are left out and told.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import Checkpoint
from pipelines.checkpoint import at_hand, content_files, content_of, resolve
from stages.errors import RowError, UsageError
from stages.fetch import fetched
from stages.settings import Limits
from stages.storage import open_storage
from stages.tables import TableFile

FOLDER = "start"
"""In the output: what training starts from."""
CONFIG = "config.json"
MOST_LABELS = 1000
"""More are no labels but values, of a column that was named wrongly."""
_NO_NAME = re.compile(r"LABEL_\d+")


def with_labels(checkpoint: Checkpoint, column: str, files: Iterable[TableFile], output: str) -> Checkpoint:
    """The checkpoint with the labels of the tables' ``column``, below ``output``/start; itself where it names its own.

    Its files are links to those that it was made of (on S3, copies); only config.json is another. Raises UsageError for
    more than MOST_LABELS.
    """
    base = at_hand(checkpoint)
    config = json.loads((base / CONFIG).read_text(encoding="utf-8"))
    names = list((config.get("id2label") or {"0": "LABEL_0"}).values())
    if not all(_NO_NAME.fullmatch(str(name)) for name in names):
        return checkpoint
    labels = sorted(_labels(column, files), key=_order)
    if not labels or all(label in names or label.isdecimal() for label in labels):
        return checkpoint
    if len(labels) > MOST_LABELS:
        raise UsageError(f"the column {column!r} holds {len(labels)} different labels: is it the right one?")
    config.pop("num_labels", None)
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    changed = json.dumps(config, indent=2)
    # By its content: never in the way of a training at work there.
    name = f"{FOLDER}/{hashlib.sha256(f'{checkpoint.content}{changed}'.encode()).hexdigest()[:12]}"
    if output.startswith("s3://"):
        return _uploaded(base, changed, f"{output.rstrip('/')}/{name}")
    folder = _linked(base, changed, Path(output, name))
    return replace(checkpoint, path=str(folder), content=content_of(folder))


def _linked(base: Path, config: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in base.iterdir():
        if file.is_file() and file.name != CONFIG and not (folder / file.name).is_symlink():
            (folder / file.name).symlink_to(file.resolve())
    (folder / CONFIG).write_text(config, encoding="utf-8")
    return folder


def _uploaded(base: Path, config: str, folder: str) -> Checkpoint:
    storage = open_storage(folder)
    for file in content_files(base):
        storage.put(file.name, config.encode() if file.name == CONFIG else file.read_bytes())
    return resolve(folder)


def _order(label: str) -> tuple[bool, str, str]:
    """O first, then by kind, B before I."""
    prefix, _, kind = label.partition("-")
    return label != "O", kind or label, prefix


def _labels(column: str, files: Iterable[TableFile]) -> set[str]:
    found: set[str] = set()
    for file in files:
        try:
            with fetched(file.uri, file.size, Limits()) as path:
                found |= _of_parquet(path, column) if file.uri.endswith(".parquet") else _of_lines(path, column)
        except RowError as error:
            raise UsageError(error.message) from error
    return found


def _of_parquet(path: Path, column: str) -> set[str]:
    found: set[str] = set()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[column]):
            values: pa.Array = batch.column(0)
            flat = values.flatten() if pa.types.is_list(values.type) else values
            found |= {str(each) for each in pc.unique(flat).to_pylist() if each is not None}
    return found


def _of_lines(path: Path, column: str) -> set[str]:
    found: set[str] = set()
    with path.open("rb") as file:
        for line in file:
            try:
                value = json.loads(line).get(column)
            except (ValueError, AttributeError):
                continue  # encoding the row tells what is wrong with it
            found |= {str(each) for each in (value if isinstance(value, list) else [value]) if each is not None}
    return found
