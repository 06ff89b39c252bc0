"""README.md says what the code says: tables, commands, settings and files that it names."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from jobs import cli, readme
from jobs.config import SETTINGS
from jobs.schema import keys

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "infra/README.md")]


def test_the_tables_are_current() -> None:
    assert readme.renewed(TEXT) == TEXT


def test_a_table_that_is_not_current_is_seen(monkeypatch, tmp_path, capsys) -> None:
    file = tmp_path / "README.md"
    file.write_text(TEXT.replace("`page_too_large`", "`page_too_small`"), "utf-8")
    monkeypatch.setattr(readme, "README", file)
    monkeypatch.setattr(sys, "argv", ["readme", "--check"])
    assert readme.main() == 1
    assert "python -m jobs.readme" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["readme"])
    assert readme.main() == 0
    assert file.read_text("utf-8") == TEXT


def test_a_table_without_a_place_is_told() -> None:
    with pytest.raises(ValueError, match="no place for the table 'families'"):
        readme.renewed(TEXT.replace("<!-- made: families -->", ""))


def commands() -> list[str]:
    blocks = "\n".join(re.findall(r"```(?:bash)?\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if line.startswith("manta ")]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one(command: str, monkeypatch, capsys) -> None:
    """Its options are known: with ``--help`` added, parsing gets to the help text."""
    words = shlex.split(command, comments=True)
    monkeypatch.setattr(sys, "argv", [*words, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert not ended.value.code, told.err
    assert f"Usage: manta {words[1]}" in told.out


def test_every_setting_that_is_named_exists() -> None:
    known = {key.name for key in keys(SETTINGS)}
    named = set(re.findall(r"\b(?:render|ocr|predict|limits)\.[a-z_]+", TEXT))
    assert named
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
