"""``manta errors``: cause, count and remedy a code, and the command that tries again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import again, causes, errors, plain
from jobs.report.output import open_output
from stages.errors import REMEDIES, Code, UsageError
from tests.jobs import outputs


def test_errors_tells_cause_count_remedy_and_command(tmp_path: Path) -> None:
    told = errors(str(outputs.token_output(tmp_path)), as_json=False)
    assert told.splitlines() == [
        f"2 error rows in {tmp_path}",
        "",
        "corrupt  1 row of 1 document",
        f"  remedy: {REMEDIES[Code.CORRUPT]}",
        "  /data/broken.pdf (whole document): no reader opens it",
        "",
        "ocr_timeout  1 row of 1 document",
        f"  remedy: {REMEDIES[Code.OCR_TIMEOUT]}",
        "  /data/scan.pdf (page 2): no progress for 120 s",
        "",
        "Try all of them again:",
        f"  {outputs.COMMAND} --retry corrupt,ocr_timeout",
    ]


def test_errors_as_json(tmp_path: Path) -> None:
    told = json.loads(errors(str(outputs.token_output(tmp_path)), as_json=True))
    assert told["retry"] == f"{outputs.COMMAND} --retry corrupt,ocr_timeout"
    assert [(one["code"], one["count"], one["documents"]) for one in told["errors"]] == [
        ("corrupt", 1, 1),
        ("ocr_timeout", 1, 1),
    ]
    assert told["errors"][1]["retry"].endswith("--retry ocr_timeout")
    assert told["errors"][1]["examples"][0]["message"] == "no progress for 120 s"


def test_no_errors(tmp_path: Path) -> None:
    outputs.text_output(tmp_path)
    assert errors(str(tmp_path), as_json=False) == f"No errors in {tmp_path}."
    assert json.loads(errors(str(tmp_path), as_json=True)) == {"output": str(tmp_path), "errors": [], "retry": None}


def test_most_frequent_first_with_a_few_examples(tmp_path: Path) -> None:
    rows = [{"uri": f"/d/{i % 40}.pdf", "page": i, "code": "crash", "message": "died"} for i in range(400)]
    outputs.write_errors(tmp_path, rows)
    outputs.write_errors(
        tmp_path, [{"uri": "/d/x.pdf", "code": "empty"}, {"uri": "/d/y", "code": "new_code"}], part="1"
    )
    told = errors(str(tmp_path), as_json=False)
    assert "crash  400 rows of 40 documents" in told
    assert "  and 397 more" in told
    assert "manta run … --retry crash,empty,new_code" in told  # no run record tells the command
    found = causes(open_output(str(tmp_path)))
    assert [(one.code, one.count) for one in found] == [("crash", 400), ("empty", 1), ("new_code", 1)]
    assert len(found[0].examples) == 100
    assert "another version" in found[2].remedy


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("manta run bert --retry crash --output o", "manta run bert --output o --retry corrupt,empty"),
        ("manta run bert --retry=crash --output o", "manta run bert --output o --retry corrupt,empty"),
        (
            "manta run bert --input 'it'\"'\"'s $HOME'",
            "manta run bert --input 'it'\"'\"'s $HOME' --retry corrupt,empty",
        ),
        ("manta run 'unfinished", "manta run … --retry corrupt,empty"),
        ("", "manta run … --retry corrupt,empty"),
    ],
)
def test_the_command_that_tries_again(command: str, expected: str) -> None:
    assert again(command, ["corrupt", "empty"]) == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=6))
def test_the_command_keeps_its_words(words: list[str]) -> None:
    kept = [word for word in words if not word.startswith("--retry")]
    assert shlex.split(again(shlex.join(["manta", *kept]), ["empty"])) == ["manta", *kept, "--retry", "empty"]


def test_a_terminal_is_not_obeyed(tmp_path: Path) -> None:
    outputs.write_errors(tmp_path, [{"uri": "/d/\x1b[2Jevil\u202e.pdf", "code": "corrupt", "message": "a\r\nb\x9b31m"}])
    told = errors(str(tmp_path), as_json=False)
    assert "/d/ [2Jevil .pdf (whole document): a b 31m" in told
    assert told == plain(told.replace("\n", "")) or "\x1b" not in told


def test_a_foreign_table_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "errors").mkdir()
    pq.write_table(pa.table({"uri": ["a"]}), tmp_path / "errors" / "0.parquet")
    with pytest.raises(UsageError, match=r"errors/0\.parquet was not written by manta run \(no column code\)"):
        errors(str(tmp_path), as_json=False)
