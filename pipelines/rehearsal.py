"""A task tried out on the driver without its weights, so that what cannot work is told before anything starts.

``rehearse`` does it here; ``Rehearsal`` in a process of its own, beside the start of Ray: importing torch and
transformers takes as long as that does, and the driver need not hold them afterwards.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from pipelines.family import Task
from stages.errors import MantaError
from stages.takes import Takes

_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pipelines.rehearsal import answer; answer()"


def rehearse(task: Task) -> Takes | None:
    """Loads the task's processor, and the names of its model's weights but not the weights; gives ``task.takes()``.

    Raises UsageError for a tokenizer that is missing, a head that the checkpoint lacks, or an option that the model
    refuses.
    """
    import torch

    task.load_processor()
    task.load_model(torch.device("meta"), torch.float32)
    return task.takes()


@dataclass(frozen=True)
class Rehearsal:
    """One that is under way, or over."""

    _process: subprocess.Popen[bytes] | None = None
    _takes: Takes | None = None

    @classmethod
    def start(cls, task: Task) -> Self:
        """Begins. Where torch is imported already it is over in a moment, and done here."""
        if "torch" in sys.modules or type(task).__module__ == "__main__":
            return cls(_takes=rehearse(task))
        command = [sys.executable, "-c", _CHILD, json.dumps(sys.path)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once: wait() says why
            process.stdin.write(pickle.dumps(task))
            process.stdin.close()
        process.stdin = None
        return cls(process)

    def wait(self) -> Takes | None:
        """Returns what ``rehearse`` does when the task can be run. Raises what ``rehearse`` raises."""
        if self._process is None:
            return self._takes
        out, err = self._process.communicate()
        if self._process.returncode:
            said = err.decode(errors="replace").strip()[-2000:]
            raise MantaError(f"the task could not be tried out (exit code {self._process.returncode}): {said}")
        found = pickle.loads(out)  # noqa: S301 - written by the process that we started
        if isinstance(found, MantaError):
            raise found
        assert found is None or isinstance(found, Takes)
        return found

    def stop(self) -> None:
        """Ends it where its answer is of no use any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def answer() -> None:
    """The child: rehearses the task on standard input, and writes what it takes, or what was wrong with it."""
    found: Takes | MantaError | None
    out, sys.stdout = sys.stdout.buffer, sys.stderr  # what libraries print is no part of the answer
    try:
        found = rehearse(pickle.load(sys.stdin.buffer))  # noqa: S301 - written by the process that started this one
    except MantaError as error:
        found = error
    out.write(pickle.dumps(found))
