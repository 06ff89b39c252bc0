"""The folder for files from requests: gone with its process, or with the next one."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from jobs.serving.scratch import Scratch

CODE = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from jobs.serving.scratch import Scratch
scratch = Scratch()
scratch.path().write_text("secret")
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_leaves_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        left = process.stdout.readline().strip()
        living = Scratch()
        assert sorted(map(str, tmp_path.iterdir())) == sorted((left, str(living.folder))), "a living one's stays"
        process.kill()
    mine = Scratch()
    assert set(tmp_path.iterdir()) == {living.folder, mine.folder}
    assert mine.path() != mine.path()
    for one in (living, mine):
        one.close()
    assert list(tmp_path.iterdir()) == []
