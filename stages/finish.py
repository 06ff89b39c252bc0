"""The end of a run: every document gets its row, superseded rows go, small parts are joined, litter is swept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from stages import keys
from stages.clean import Removed, clean, compact
from stages.columns import results_schema
from stages.errors import UsageError
from stages.fold import Answers, Folding
from stages.lease import taken_over
from stages.ledger import Ledger
from stages.parts import DOCUMENT_KEY, PAGE_KEY, RESULT_KEY, RunStamp, where
from stages.progress import signed
from stages.settled import Settled
from stages.storage import Storage
from stages.supersede import Current, Folder, moot_errors

__all__ = ["Answers", "Finished", "Folding", "check_output", "finish"]

_KEYS = {"results": RESULT_KEY, "errors": RESULT_KEY, "pages": PAGE_KEY, "documents": DOCUMENT_KEY}
TEXT = "text"
"""The family of a run that only reads."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What the end of a run did."""

    removed: dict[str, int] = field(default_factory=dict)
    """Superseded rows by folder."""
    pruned: int = 0
    """Files that are no longer listed and whose rows went."""
    joined: int = 0
    """How many parts there are fewer, because small ones were joined."""


def finish(
    storage: Storage,
    stamp: RunStamp,
    ledger: Ledger,
    folding: Folding,
    *,
    prune: bool = False,
    pages: Storage | None = None,
    check: Callable[[], None] = lambda: None,
) -> Finished:
    """Folds what is left, then makes each key's newest current row the only one.

    Only after a run that got to its end: everything in the full listing went through ``ledger.todo``. ``pages``: where
    pages/ lies, if elsewhere; it is then shared, and only loses double rows. ``check`` raises where the lease is lost.
    """
    shared = pages is not None
    folders = _folders(storage, stamp, pages if pages is not None else storage)
    if not prune and not len(folding.folded()) and not folding.incomplete and _untouched(ledger, folders):
        return Finished()
    answered = folders["pages" if stamp.fingerprint == stamp.read_fingerprint else "results"]
    moot, overtaken = moot_errors(folders["errors"], answered, ledger.records_per_page)
    folding.finish(also=overtaken)
    uris, documents = ledger.listed_versions()
    folded = folding.folded()
    complete = keys.sorted_unique([ledger.complete, folded]) if len(folded) else ledger.complete
    current = Current(uri=uris, document=documents, complete=complete, prune=prune)
    removed: dict[str, Removed] = {}
    joined = 0
    for name, folder in folders.items():  # documents/ first: a row there without its pages would be believed
        mine = None if shared and name == "pages" else current
        removed[name] = clean(folder, mine, moot=moot if name == "errors" else None, check=check)
    if taken_over(storage):
        _fold_again(folders["documents"], ledger, folding)
    for name, folder in folders.items():
        if not (shared and name == "pages"):
            joined += compact(folder, _KEYS[name], removed[name].left, check=check)
    if keys.member(ledger.begun(), complete).all():  # no rows of unfinished documents that are no longer listed
        _settle(storage, stamp, ledger, folders, removed)
    storage.sweep()
    return Finished(
        removed={name: one.rows for name, one in removed.items()},
        pruned=removed["documents"].unlisted,
        joined=joined,
    )


def _untouched(ledger: Ledger, folders: Mapping[str, Folder]) -> bool:
    """Whether the same is listed, and nobody wrote any part, since a run left all in order."""
    if ledger.settled.listing != ledger.listing_digest() or len(ledger.known.document):
        return False
    there = {entry.name: entry.version for one in folders.values() for entry in one.storage.list(f"{one.name}/")}
    return there == ledger.settled.parts


def _fold_again(folder: Folder, ledger: Ledger, folding: Folding) -> None:
    """Folds listed documents whose row is gone: a run that lost its lease may still have taken one out."""
    found = [keys.documents(where(block.table, signed(block.table, *folder.signature)))[1] for block in folder.blocks()]
    listed = ledger.listed_documents()
    missing = listed[~keys.member(listed, keys.sorted_unique(found))]
    if len(missing):
        folding.finish(also=missing)


def _settle(
    storage: Storage, stamp: RunStamp, ledger: Ledger, folders: Mapping[str, Folder], removed: Mapping[str, Removed]
) -> None:
    """Notes which parts are in order."""
    Settled(
        fingerprint=stamp.fingerprint,
        read_fingerprint=stamp.read_fingerprint,
        pages=folders["pages"].storage.uri,
        listing=ledger.listing_digest(),
        parts={name: version for one in removed.values() for name, version in one.left.items()},
    ).save(storage)


def _folders(storage: Storage, stamp: RunStamp, pages: Storage) -> dict[str, Folder]:
    ours = ("fingerprint", stamp.fingerprint)
    read = ("read_fingerprint", stamp.read_fingerprint)
    return {
        "documents": Folder(storage=storage, name="documents", signature=ours, by=()),
        "results": Folder(storage=storage, name="results", signature=ours, by=("page", "record")),
        "errors": Folder(storage=storage, name="errors", signature=ours, by=("page", "record")),
        "pages": Folder(storage=pages, name="pages", signature=read, by=("page",)),
    }


def check_output(storage: Storage, family: str, task: str, answers: Sequence[str]) -> None:
    """Raises UsageError where the output holds rows of another family or task.

    Told by the newest part of results/ (its metadata, and its columns where they are not what ``answers`` makes), and
    by the run records. An output that only has pages/ of ``manta run text`` may be gone on with by any task.
    """
    hint = "choose another --output (and --pages to reuse what was read)"
    for entry in storage.list("results/"):
        if not entry.name.endswith(".parquet"):
            continue
        with storage.open_input(entry.name, entry.size) as file:
            schema = pq.read_schema(file)
        about = schema.metadata or {}
        theirs = (about.get(b"manta.family", b"").decode(), about.get(b"manta.task", b"").decode())
        if theirs != (family, task):
            raise UsageError(f"{storage.uri} holds rows of {_called(*theirs)}, not {_called(family, task)}: {hint}")
        if not _same_columns(schema, results_schema(answers)):
            raise UsageError(f"{storage.uri} holds rows of {_called(*theirs)} with other columns: {hint}")
        break
    for entry in storage.list("runs/"):
        if entry.name.endswith(".json"):
            record = json.loads(storage.read(entry.name))
            theirs = (record.get("family", ""), record.get("task", ""))
            if theirs[0] != TEXT and theirs != (family, task):
                raise UsageError(f"{storage.uri} holds rows of {_called(*theirs)}, not {_called(family, task)}: {hint}")


def _same_columns(there: pa.Schema, expected: pa.Schema) -> bool:
    same: bool = there.remove_metadata().equals(expected.remove_metadata(), check_metadata=False)
    return same


def _called(family: str, task: str) -> str:
    return f"{family} {task}".strip() or "an unknown task"
