"""A page that hangs, one that kills its process, one that eats memory: each costs itself, within its limit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.batch import execute
from jobs.prepare import Request
from jobs.progress import Progress
from stages.settings import Ocr, Render, Settings
from tests import corpus

LIMIT_S = 10.0
"""In which a page that eats memory must reach its limit, beside another test: 5 were too few once."""


@pytest.mark.usefixtures("ray_local")
def test_each_kind_of_trouble_costs_its_page_alone(tmp_path):
    files = tmp_path / "in"
    files.mkdir()
    for i in range(6):
        corpus.pdf(files / f"good{i}.pdf", 2)
    for name in ("hang", "kill", "eat"):
        corpus.pdf(files / f"{name}.pdf")
    corpus.scan(files / "hang_scan.png")
    settings = Settings(render=Render(timeout_s=LIMIT_S), ocr=Ocr(timeout_s=LIMIT_S))
    request = Request(
        family="text",
        task=None,
        inputs=(str(files),),
        output=str(tmp_path / "out"),
        settings=settings,
        max_error_rate=1,
    )
    started = time.monotonic()
    result = execute(request, Progress.quiet(), reader="tests.jobs.reader_targets:open_troubled")
    codes = {Path(row["uri"]).name: row["code"] for row in result.errors.to_table().to_pylist()}
    assert codes["kill.pdf"] == "crash"
    assert codes["eat.pdf"] == "out_of_memory"
    assert codes["hang.pdf"] == codes["hang_scan.png"] == "render_timeout"
    assert len(codes) == 4
    assert result.record.pages.ok == 12
    assert result.record.sandbox
    # Four limits one after the other at most, and what starting and ending cost.
    assert time.monotonic() - started < 4 * LIMIT_S + 60
