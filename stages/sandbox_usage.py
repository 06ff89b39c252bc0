"""What a process group of the sandbox uses: memory and processes from /proc, bytes of its scratch folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_MOST_ENTRIES = 2_000
"""Entries of a scratch folder that are looked at; more of them count as endless."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a process and all below it hold."""

    memory_bytes: int
    """Anonymous and shared memory in RAM; mapped files, which can be dropped, do not count."""
    processes: int
    """How many they are."""


def group_usage(pid: int) -> Usage:
    """Sums over ``pid`` and its descendants; zeros where there is no /proc (the child's rlimits hold all the same).

    The child is a subreaper, so processes whose parent ended stay among its descendants.
    """
    seen: set[int] = set()
    todo, memory = [pid], 0
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        memory += _memory_bytes(one)
        todo += _children(one)
    return Usage(memory_bytes=memory, processes=len(seen))


def _memory_bytes(pid: int) -> int:
    """RssAnon + RssShmem; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()  # a process may name itself in any bytes
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith((b"RssAnon:", b"RssShmem:")))


def _children(pid: int) -> list[int]:
    """Each thread's children; none where the kernel is built without the list or the process has ended."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  (names are enough)
        return [
            int(child)
            for thread in threads
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        ]
    except OSError:
        return []


def folder_bytes(folder: str) -> int:
    """Bytes of all files under ``folder``; 2^62 when it has more entries than anything but malice would make."""
    total, entries, todo = 0, 0, [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as found:
                for entry in found:
                    entries += 1
                    if entries > _MOST_ENTRIES:
                        return 1 << 62
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # deleted or replaced while we looked
    return total
