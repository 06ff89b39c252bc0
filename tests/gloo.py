"""Worker processes with a gloo process group, started once a session: a test calls a function in all of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

WORLD = 3
TIMEOUT_S = 240
"""Longest that a call may take on a busy machine; a collective that hangs ends here."""


class Workers:
    """``WORLD`` processes, of which a call may take fewer."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes, self._turn, self._world = pipes, 0, 0

    def call(self, function: Callable[..., Any], *arguments: object, world: int = WORLD) -> list[Any]:
        """What ``function(rank, *arguments)``, of a module, answers in each of ``world`` processes, by rank."""
        self._turn += 1
        joins, self._world = world != self._world, world
        for pipe in self._pipes[:world]:
            pipe.send((function, arguments, world if joins else 0, self._turn))
        answers: dict[int, Any] = {}
        ranks = {pipe: rank for rank, pipe in enumerate(self._pipes[:world])}
        while len(answers) < world:
            ready = wait([pipe for pipe, rank in ranks.items() if rank not in answers], TIMEOUT_S)
            assert ready, f"ranks {sorted(set(ranks.values()) - set(answers))} do not answer: a collective hangs"
            for pipe in ready:
                turn, fine, answer = pipe.recv()
                if turn == self._turn:  # else it is that of an earlier call, in which another rank failed
                    answers[ranks[pipe]] = answer
                    assert fine, f"rank {ranks[pipe]}:\n{answer}"  # at once: the others may wait for it
        return [answers[rank] for rank in range(world)]


@contextmanager
def workers(folder: Path) -> Iterator[Workers]:
    """Starts the processes, and ends them afterwards."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(WORLD):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(rank, str(folder / "store"), theirs), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    try:
        yield Workers(pipes)
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.join(5)
            process.kill()


def _serve(rank: int, store: str, pipe: Connection) -> None:
    import torch

    import jobs.training.learn  # noqa: F401 - so that it is there before the heap is frozen

    torch.set_num_threads(1)
    gc.freeze()  # the Trainer collects garbage: 0.3 s a time among all that is imported
    while True:
        try:
            function, arguments, world, turn = pipe.recv()
        except EOFError:
            return
        try:
            if world:
                _join(rank, world, f"{store}-{turn}")
            pipe.send((turn, True, function(rank, *arguments)))
        except BaseException:  # noqa: BLE001 - the caller is told
            pipe.send((turn, False, traceback.format_exc()))


def _join(rank: int, world: int, store: str) -> None:
    """Makes this process rank ``rank`` of a new group, as Ray Train does; a group of one is none."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    for name, value in names.items():
        if world > 1:
            os.environ[name] = str(value)
        else:
            os.environ.pop(name, None)
    os.environ.update({"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"})
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
