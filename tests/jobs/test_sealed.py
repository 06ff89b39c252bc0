"""Secrets on their way to a cluster: refused on the command line, sealed for those who hold its token."""

from __future__ import annotations

import pytest

from jobs.sealed import seal, unseal
from jobs.submit import environment
from stages.errors import UsageError

SECRET = "hf_sealedSECRET"


def test_secrets_never_stand_on_the_command_line(monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert environment(["HF_TOKEN", "MANTA_LOG=json"]) == ({"MANTA_LOG": "json"}, {"HF_TOKEN": SECRET})
    for one, message in {
        "HF_TOKEN=abc": "shows a secret",
        "AWS_SECRET_ACCESS_KEY=abc": "shows a secret",
        "AWS_ACCESS_KEY_ID=abc": "shows a secret",
        "NOT_SET_HERE": "no such variable is set here",
        "RAY_AUTH_TOKEN": "Ray's own variables",
        "a b": "takes a variable's name",
    }.items():
        with pytest.raises(UsageError, match=message) as told:
            environment([one])
        assert "abc" not in str(told.value)


def test_what_is_sealed_opens_with_the_same_token_only() -> None:
    sealed = seal({"A": "ä", "B": ""}, "token")
    assert "ä" not in sealed
    assert unseal(sealed, "token") == {"A": "ä", "B": ""}
    with pytest.raises(UsageError, match="sealed for a cluster with another token"):
        unseal(sealed, "another")
