"""The cage around a sandbox's child: no way out to the network, the home folder, the environment or other processes."""

import os
import re
from pathlib import Path

import pytest

from stages.sandbox import Sandbox, sandbox_level
from tests.stages.sandboxes import LIMITS, TARGET, ask

PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]>>endobj
trailer<</Root 1 0 R>>
"""


@pytest.fixture(scope="module")
def sandbox():
    with_limits = Sandbox(TARGET, limits=LIMITS, settings={"lang": "eng", "dpi": 300})
    yield with_limits
    with_limits.close()


def needs(part):
    """The part of the cage that a test asserts; where the kernel lacks it, the run record says so, and so does this."""
    if part not in sandbox_level():
        pytest.skip(f"this kernel allows no {part} here: the level is {sandbox_level()!r}")


def test_the_level_names_what_the_kernel_gave(sandbox):
    parts = sandbox_level().split("+")
    assert parts == ["rlimits only"] or {part.split("-")[0] for part in parts} <= {"landlock", "netns", "seccomp"}


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "udp", "unix"])
def test_no_socket_opens(sandbox, kind):
    needs("seccomp")
    assert ask(sandbox, "attempt", what=kind) == {"refused": "PermissionError"}


def test_there_is_no_network_interface_but_an_unused_loopback(sandbox):
    needs("netns")
    lines = ask(sandbox, "attempt", what="interfaces")["ok"].splitlines()[2:]
    assert all(line.split(":")[0].strip() == "lo" and line.split()[1] == "0" for line in lines)


def test_the_environment_holds_no_key(sandbox, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-7431")
    sandbox.close()
    environment = ask(sandbox, "attempt", what="environment")["ok"]
    assert "hidden-7431" not in environment
    assert set(re.findall(r"'([A-Z_]+)':", environment)) <= {
        *("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "TZ", "LANG", "LC_ALL"),
        *("OMP_THREAD_LIMIT", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        *("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
        *("HOME", "TMPDIR", "XDG_CACHE_HOME"),
    }


def test_no_file_outside_is_read_or_written(sandbox, tmp_path):
    needs("landlock")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    attempts = [
        ("list", Path.home()),
        ("list", tmp_path),
        ("list", "/proc"),
        ("list", "/tmp"),
        ("read", secret),
        ("read", f"/proc/{os.getpid()}/environ"),
        ("read", "/etc/passwd"),
        ("write", tmp_path / "new"),
        ("write", secret),
        ("write", Path(__file__).parents[2] / "stages" / "planted.py"),
        ("write", "/dev/shm/planted"),
        ("thread in the cage", secret),
        ("program in the cage", secret),
    ]
    for what, path in attempts:
        assert ask(sandbox, "attempt", what=what, place=str(path)) == {"refused": "PermissionError"}, (what, path)
    assert secret.read_text() == "secret"
    assert "ok" in ask(sandbox, "attempt", what="write scratch")


def test_a_package_beside_the_target_is_not_readable(sandbox):
    needs("landlock")
    assert ask(sandbox, "attempt", what="read", place=__file__) == {"refused": "PermissionError"}


def test_further_paths_can_be_allowed(tmp_path):
    (tmp_path / "language.data").write_text("words")
    allowed = Sandbox(TARGET, reads=(str(tmp_path),))
    path = str(tmp_path / "language.data")
    assert ask(allowed, "attempt", what="read", place=path) == {"ok": "words"}
    if "landlock" in sandbox_level():
        assert ask(allowed, "attempt", what="write", place=path) == {"refused": "PermissionError"}
    allowed.close()


def test_no_process_outside_is_signalled(sandbox):
    needs("landlock")
    if int(sandbox_level().split("landlock-")[1].split("+")[0]) < 6:
        pytest.skip("this kernel's Landlock is older than version 6, which came to know signals")
    assert ask(sandbox, "attempt", what="signal", pid=os.getpid()) == {"refused": "PermissionError"}


@pytest.mark.parametrize("how", ["leave group", "leave session"])
def test_the_process_group_cannot_be_left(sandbox, how):
    needs("seccomp")
    assert ask(sandbox, "attempt", what=how) == {"refused": "PermissionError"}


def test_the_programs_of_the_engines_work_inside(sandbox, tmp_path):
    from PIL import Image

    pdf, image = tmp_path / "page.pdf", tmp_path / "page.png"
    pdf.write_bytes(PDF)
    Image.new("L", (200, 100), 255).save(image)
    assert "Pages:           1" in ask(sandbox, "attempt", what="pdfinfo", path=str(pdf))["ok"]
    assert ask(sandbox, "attempt", what="pdftoppm", path=str(pdf)) == {"ok": "b'P6'"}
    assert "ok" in ask(sandbox, "attempt", what="tesseract", path=str(image), timeout_s=20)
