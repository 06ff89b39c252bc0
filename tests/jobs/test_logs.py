"""Lines for people and lines for log stores."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import logs
from jobs.accounts import Accounts
from jobs.record import RunRecord

ROOT = Path(__file__).parents[2]


@pytest.fixture
def as_json(monkeypatch):
    """The process speaks JSON until the test's end."""
    root, rows = logging.getLogger(), logging.getLogger("manta")
    before = root.handlers[:], root.level, rows.level
    monkeypatch.setenv(logs.VARIABLE, "json")
    logs.use("json")
    yield
    root.handlers[:], level, own = before
    root.setLevel(level)
    rows.setLevel(own)
    logs.about_run("")


def test_a_failed_row_is_a_line_with_run_document_and_page(as_json, capsys) -> None:
    logging.getLogger().handlers[0].setStream(sys.stderr)
    logs.about_run("r7")
    receipts = {"uri": ["a.pdf", "b.pdf"], "page": [1, 3], "record": [0, None], "ok": [True, False]}
    types = {"code": [None, "ocr_timeout"], "reader": ["", ""], "part": ["p", "q"]}
    accounts = Accounts(record=RunRecord(run_id="r7", family="text", task="text"), max_error_rate=1.0)
    accounts.add(pa.table({**receipts, **types}))
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "INFO", "message": "a row failed: ocr_timeout", "run_id": "r7", "logger": "manta.rows",
        "document": "b.pdf", "page": 3, "code": "ocr_timeout",
    }  # fmt: skip


def test_what_is_told_keeps_its_words(as_json) -> None:
    line = logs.line("sent: 100 %")
    assert logs.message_of(line) == "sent: 100 %"
    assert logs.message_of("plain") == "plain"
    assert logs.message_of("[1]") == "[1]"


@pytest.mark.parametrize(
    ("words", "variable"),
    [(("--log-format", "json", "run", "brt"), ""), (("run", "brt"), "json"), (("run", "brt"), "")],
)
def test_the_command_line_speaks_as_it_is_told(words, variable) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop(logs.VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words, "--task", "x", "--output", "o"],
        env=env | ({logs.VARIABLE: variable} if variable else {}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    if variable or "json" in words:
        told = json.loads(done.stderr)
        assert (told["level"], told["message"].startswith("manta: no family 'brt'")) == ("ERROR", True)
    else:
        assert done.stderr.startswith("manta: no family 'brt'")


def test_an_unknown_form_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "--log-format", "xml", "families"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "'xml'" in done.stderr
