"""Progress: a live line on a terminal, log lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from jobs.progress import Progress, clock, describe
from jobs.record import DocumentCounts, PageCounts, RunRecord


def record(**documents: int) -> RunRecord:
    found = RunRecord(run_id="r", family="text", task="text")
    found.documents = DocumentCounts(**documents)
    found.pages = PageCounts(ok=230, failed=4)
    found.samples = [[10.0, 4, 0], [33.0, 234, 4]]
    return found


def test_the_line_tells_documents_pages_speed_errors_and_time_left() -> None:
    now = record(listed=1100, ok=98, partial=1, failed=1, skipped=100)
    now.errors = {"corrupt": 1, "crash": 3}
    assert describe(now, 60.0) == (
        "documents 200 of 1,100 (100 done before) · 234 pages · 10.0 pages/s · 4 error rows · 9 min 00 s left"
    )


def test_nothing_is_promised_before_something_is_done() -> None:
    assert "left" not in describe(record(listed=10), 60.0)
    assert "left" not in describe(record(listed=10, ok=10), 60.0)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7800, "2 h 10 min")],
)
def test_time_spans(seconds: float, told: str) -> None:
    assert clock(seconds) == told


def shown(terminal: bool, quiet: bool = False, every_s: float = 0.0) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, quiet=quiet, soft_wrap=True, width=200)
    progress = Progress(console, every_s=every_s)
    now = record(listed=10, ok=1)
    progress.start(now)
    progress.update(now)
    now.documents.ok = 5
    progress.update(now)
    progress.say("file [/red] is odd")
    progress.close()
    progress.close()
    return stream.getvalue()


def test_log_lines_where_there_is_no_terminal() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line.split("  ", 1)[1].split(" ·")[0] for line in lines[:2]] == ["documents 1 of 10", "documents 5 of 10"]
    assert lines[2] == "file [/red] is odd"


def test_log_lines_come_no_more_often_than_asked() -> None:
    assert "documents" not in shown(terminal=False, every_s=60.0)


def test_a_live_line_on_a_terminal_that_is_gone_at_the_end() -> None:
    text = shown(terminal=True)
    assert "documents 5 of 10" in text
    assert "file [/red] is odd" in text
    assert text.endswith("\x1b[2K")  # the line is wiped


def test_what_the_family_has_to_say_comes_first() -> None:
    stream = io.StringIO()
    now = record(listed=10)
    now.notice = "the weights are not for commercial use"
    Progress(Console(file=stream)).start(now)
    assert stream.getvalue() == "the weights are not for commercial use\n"


def test_quiet_says_nothing() -> None:
    assert shown(terminal=True, quiet=True) == ""
    assert shown(terminal=False, quiet=True) == ""
