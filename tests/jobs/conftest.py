"""What tests of the command line share."""

from __future__ import annotations

import sys

import pytest

from jobs import cli


@pytest.fixture
def manta(monkeypatch, capsys):
    """``manta(*words)``: exit code, standard output, standard error; in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["manta", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call
