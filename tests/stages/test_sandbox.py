"""The sandbox: a reader that hangs, dies, eats memory, lies or tries to get out costs its own page and no more."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.errors import Code, RowError
from stages.sandbox import Sandbox, SandboxLimits
from stages.sandbox_process import Child
from tests.stages.sandboxes import LIMITS, TARGET, ask


@pytest.fixture(scope="module")
def sandbox():
    with_limits = Sandbox(TARGET, limits=LIMITS, settings={"lang": "eng", "dpi": 300})
    yield with_limits
    with_limits.close()


def works(sandbox):
    return ask(sandbox, "echo", value=1)["value"] == 1


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


# --- what a call gives


def test_values_settings_and_arrays_go_in_and_out(sandbox):
    value = {"words": ["a", "é", "漢"], "none": None, "n": [1, 2.5, True], "raw": b"\0\xff"}
    answer = ask(sandbox, "echo", value=value)
    assert answer["value"] == value
    assert answer["settings"] == {"lang": "eng", "dpi": 300}
    boxes = np.arange(400, dtype=np.int16).reshape(100, 4)
    assert np.array_equal(ask(sandbox, "echo", value=boxes)["value"], boxes)


def test_the_child_is_kept_and_renewed():
    with_renewal = Sandbox(TARGET, limits=SandboxLimits(renew_after=3))
    pids = [ask(with_renewal, "echo", value=0)["pid"] for _ in range(7)]
    with_renewal.close()
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] == pids[5] != pids[6]


def test_a_file_is_handed_over_and_the_newest_stay(sandbox, tmp_path):
    sandbox.close()  # a fresh scratch folder
    for number in range(6):
        path = tmp_path / f"document {number}.pdf"
        path.write_bytes(b"content %d" % number)
        answer = ask(sandbox, "read", path=str(path))
        assert answer["data"] == b"content %d" % number
    assert len(answer["kept"]) == 4
    assert Path(answer["file"]).name in answer["kept"]


def test_files_that_cannot_be_handed_over_are_refused_by_name(sandbox, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(21 << 20)
    for path, code in (
        (tmp_path / "absent", Code.NOT_FOUND),
        (tmp_path, Code.UNSUPPORTED_TYPE),
        (pipe, Code.UNSUPPORTED_TYPE),
        (large, Code.TOO_LARGE),
    ):
        with pytest.raises(RowError) as caught:
            ask(sandbox, "read", path=str(path))
        assert caught.value.code == code
    assert works(sandbox)


def test_a_refusal_comes_back_as_it_was_raised_and_the_child_stays(sandbox):
    pid = ask(sandbox, "echo", value=0)["pid"]
    with pytest.raises(RowError) as caught:
        ask(sandbox, "refuse", code="password_required", message="locked")
    assert (caught.value.code, caught.value.message, caught.value.detail) == (
        Code.PASSWORD_REQUIRED,
        "locked",
        "why\n [2J",
    )
    assert ask(sandbox, "echo", value=0)["pid"] == pid


@pytest.mark.parametrize(("do", "cause"), [("fail", "KeyError: 'a bug'"), ("surrogate", "UnicodeEncodeError")])
def test_a_bug_in_the_handler_is_internal_with_its_traceback(sandbox, do, cause):
    with pytest.raises(RowError) as caught:
        ask(sandbox, do)
    assert caught.value.code == Code.INTERNAL
    assert cause in caught.value.message
    assert "Traceback" in caught.value.detail


def test_a_request_that_no_frame_holds_is_the_callers_bug(sandbox):
    with pytest.raises(TypeError):
        ask(sandbox, "echo", value=object())
    assert works(sandbox)


def test_text_from_the_child_cannot_steer_a_terminal(sandbox):
    with pytest.raises(RowError) as caught:
        ask(sandbox, "refuse", code="corrupt", message="\x1b[2Jgone\n\u202eback")
    assert caught.value.message.isprintable()


def test_a_target_that_does_not_load_says_why():
    with pytest.raises(RuntimeError, match="no engine here"):
        Sandbox("sandbox_targets:open_broken").call({}, timeout_s=1)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        Sandbox("no_such_module:open").call({}, timeout_s=1)


@pytest.mark.parametrize(("kills", "starts"), [(1, True), (2, True), (3, False)])
def test_a_child_that_is_killed_while_it_starts_is_started_again(monkeypatch, kills, starts):
    left, begin = [None] * kills, Child._begin

    def killed(child, timeout_s, total_s):
        if left:
            left.pop()
            child._process.kill()
        begin(child, timeout_s, total_s)

    monkeypatch.setattr(Child, "_begin", killed)
    one = Sandbox(TARGET, limits=LIMITS)
    try:
        if starts:
            assert works(one)
        else:
            with pytest.raises(RuntimeError, match="does not start"):
                works(one)
    finally:
        one.close()


def test_calls_from_threads_do_not_mix(sandbox):
    answers = {}

    def run(number):
        answers[number] = [ask(sandbox, "echo", value=number)["value"] for _ in range(50)]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [number] * 50 for number in range(4)}


def test_an_interrupted_call_leaves_no_answer_for_the_next_one(sandbox):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            ask(sandbox, "hang", seconds=0.6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert works(sandbox)


# --- what goes wrong costs one call, in time


@pytest.mark.parametrize(
    ("do", "arguments", "code", "words"),
    [
        ("hang", {}, Code.OCR_TIMEOUT, "no progress for 1 s"),
        ("dribble", {}, Code.OCR_TIMEOUT, "no progress for 1 s"),
        ("kill", {"signal_name": "SIGSEGV"}, Code.CRASH, "SIGSEGV"),
        ("kill", {"signal_name": "SIGABRT"}, Code.CRASH, "SIGABRT"),
        ("kill", {"signal_name": "SIGKILL"}, Code.CRASH, "SIGKILL"),
        ("leave", {"status": 0}, Code.CRASH, "exit status 0"),
        ("leave", {"status": 7}, Code.CRASH, "exit status 7"),
        ("eat", {}, Code.OUT_OF_MEMORY, "200 MB"),
        ("leap", {}, Code.OUT_OF_MEMORY, "memory"),
        ("eat_elsewhere", {}, Code.OUT_OF_MEMORY, "200 MB"),
        ("write_files", {}, Code.OUT_OF_MEMORY, "20 MB of files"),
        ("fork_many", {}, Code.CRASH, "8 processes"),
        ("speak", {"kind": "answer", "payload": None}, Code.CRASH, "out of turn"),
        ("speak", {"kind": "ready", "payload": ["", 1]}, Code.CRASH, "out of turn"),
        ("speak", {"kind": "refusal", "payload": ["no code", "", ""]}, Code.CRASH, "out of turn"),
        ("speak", {"kind": "refusal", "payload": [1]}, Code.CRASH, "out of turn"),
    ],
)
def test_trouble_has_its_code_within_its_limit_and_the_next_call_works(sandbox, do, arguments, code, words):
    assert works(sandbox)
    start = time.monotonic()
    with pytest.raises(RowError) as caught:
        ask(sandbox, do, timeout_s=1.0 if code == Code.OCR_TIMEOUT else 10, timeout_code=Code.OCR_TIMEOUT, **arguments)
    seconds = time.monotonic() - start
    assert caught.value.code == code, caught.value.detail
    assert words in caught.value.message
    assert seconds < (3 if code == Code.OCR_TIMEOUT else 5)
    assert works(sandbox)


def test_progress_holds_off_the_time_limit_but_not_the_total(sandbox):
    assert ask(sandbox, "work", steps=8, seconds=0.2, timeout_s=1.0)["steps"] == 8
    for do, arguments in (("work", {"steps": 100, "seconds": 0.2}), ("flood", {})):
        start = time.monotonic()
        with pytest.raises(RowError) as caught:
            ask(sandbox, do, timeout_s=1.0, total_s=1.2, **arguments)
        assert caught.value.code == Code.RENDER_TIMEOUT
        assert "longer than 1.2 s" in caught.value.message
        assert 1.2 <= time.monotonic() - start < 3.2


def test_what_a_dying_child_wrote_is_in_the_detail_and_never_blocks_it(sandbox):
    with pytest.raises(RowError) as caught:
        ask(sandbox, "talk", size=1 << 20)
    assert caught.value.code == Code.CRASH
    assert caught.value.detail.endswith("last words")
    assert len(caught.value.detail) <= 8000


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=60) | st.binary(max_size=60).map(lambda tail: b"MNT1" + tail))
def test_whatever_a_child_writes_is_at_worst_a_crash(sandbox, data):
    with pytest.raises(RowError) as caught:
        ask(sandbox, "say", data=data)
    assert caught.value.code == Code.CRASH


# --- nothing is left behind


def test_programs_of_a_killed_child_die_with_it(sandbox):
    started = ask(sandbox, "start_program")
    assert alive(started["pid"])
    with pytest.raises(RowError):
        ask(sandbox, "hang", timeout_s=0.3)
    assert not alive(started["pid"])
    assert not alive(started["own"])
    assert not Path(started["scratch"]).exists()


def test_a_killed_parent_takes_everything_with_it():
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from stages.sandbox import Sandbox\n"
        f"box = Sandbox({TARGET!r})\n"
        "started = box.call({'do': 'start_program'}, timeout_s=10)\n"
        "print(started['pid'], started['own'], started['scratch'], flush=True)\n"
        "box.call({'do': 'hang'}, timeout_s=100)"
    )
    argv = [sys.executable, "-c", code, str(Path(__file__).parent)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        program, child, scratch = parent.stdout.readline().split()
        assert alive(program)
        assert alive(child)
        parent.kill()
    until(lambda: not alive(program) and not alive(child) and not Path(scratch).exists(), 5)


def test_a_parent_that_ends_without_closing_leaves_nothing():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from stages.sandbox import Sandbox\n"
        f"box = Sandbox({TARGET!r})\n"
        "print(box.call({'do': 'start_program'}, timeout_s=10)['scratch'])"
    )
    argv = [sys.executable, "-W", "error", "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not Path(done.stdout.strip()).exists()


def test_a_dropped_sandbox_ends_its_child():
    dropped = Sandbox(TARGET)
    started = ask(dropped, "start_program")
    del dropped
    gc.collect()
    assert not alive(started["pid"])
    assert not alive(started["own"])


def test_many_calls_leak_no_descriptors(tmp_path):
    path = tmp_path / "document"
    path.write_bytes(b"x")
    many = Sandbox(TARGET, limits=SandboxLimits(renew_after=40))
    works(many)
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(200):
        ask(many, "read", path=str(path))
        if number % 50 == 0:
            with pytest.raises(RowError):
                ask(many, "leave", status=1)
            works(many)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    many.close()
