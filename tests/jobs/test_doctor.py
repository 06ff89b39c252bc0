"""``manta doctor`` names what is missing and the command that mends it."""

from __future__ import annotations

import json
import shutil
import sys

import psutil
import pytest

from jobs import cli, doctor
from jobs.doctor import Check, examine


def found(checks: list[Check], name: str) -> Check:
    return next(one for one in checks if one.name == name)


def test_a_machine_on_which_the_tests_run_lacks_no_part() -> None:
    checks = examine()
    size = {"memory", "shared memory", "disk"}  # a small container may be short of these
    assert [str(one) for one in checks if one.state == "missing" and one.name not in size] == []
    assert "eng" in found(checks, "tesseract language data").found
    assert found(checks, "extra test").state == "ok"
    assert "2.13.0" in found(checks, "torch").found


def test_missing_programs_are_named_with_their_package(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    checks = examine()
    for name, package in (("tesseract", "tesseract-ocr"), ("poppler", "poppler-utils")):
        check = found(checks, name)
        assert check.state == "missing"
        assert check.mend.endswith(f"apt-get install -y --no-install-recommends {package}")
    assert found(checks, "chromium").state == "optional"


def test_missing_language_data_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    check = found(examine(), "tesseract language data")
    assert check.state == "missing"
    assert "tesseract-ocr-eng" in check.mend


def test_a_package_that_is_missing_or_too_old_is_named(monkeypatch) -> None:
    needs = ["torch>=2.13", "numpy>=99", "nowhere-to-be-found", 's3fs>=1; extra == "s3"', 'lost>=1; extra == "s3"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needs)
    checks = examine()
    assert found(checks, "packages").state == "missing"
    assert "numpy is" in found(checks, "packages").found
    assert "nowhere-to-be-found is missing" in found(checks, "packages").found
    assert found(checks, "extra s3").state == "optional"
    assert "lost is missing" in found(checks, "extra s3").found
    assert "'.[s3]'" in found(checks, "extra s3").mend
    assert found(checks, "extra train").state == "ok"


def test_a_machine_that_is_too_small(monkeypatch) -> None:
    memory = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**30, 0))
    checks = examine()
    for name in ("memory", "shared memory", "disk"):
        assert found(checks, name).state == "missing"
        assert found(checks, name).mend


def test_a_token_file_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/such/token")
    check = found(examine(), "ray")
    assert check.state == "missing"
    assert "ray get-auth-token --generate" in check.mend


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("optional", 0), ("missing", 1)])
def test_the_command_answers_with_its_exit_code(monkeypatch, capsys, state, code) -> None:
    check = Check(name="thing", state=state, found="here", mend="mend-it --now")
    monkeypatch.setattr(doctor, "examine", lambda: [check])
    for words in (["doctor"], ["doctor", "--json"]):
        monkeypatch.setattr(sys, "argv", ["manta", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
        out = capsys.readouterr().out
        assert "mend-it --now" in out
    assert json.loads(out) == {"ok": code == 0, "checks": [check.as_dict()]}
