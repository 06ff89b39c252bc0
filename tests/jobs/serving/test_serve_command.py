"""``manta serve`` as a program: a line when it is ready, one for a mistake, a stop that answers what is under way."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
import requests
import yaml

from jobs.bench.common.clients import free_port
from tests import corpus

MANTA = [sys.executable, "-c", "from jobs.cli import program; program()", "serve"]


def test_it_serves_until_it_is_stopped_and_answers_what_is_under_way(tiny, tmp_path):
    port = free_port()
    model = {"family": "layoutlm", "task": "features", "checkpoint": str(tiny("layoutlm", "features")), "cpus": 0.5}
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump({"models": [model], "text": "ocr", "render": {"dpi": 150}}))
    path = corpus.pdf(tmp_path / "five.pdf", 5)
    process = subprocess.Popen(
        [*MANTA, str(config), "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert line == f"http://127.0.0.1:{port} serves layoutlm-features; http://127.0.0.1:{port}/docs tells how\n"
        answers: list[requests.Response] = []

        def ask() -> None:
            files = {"file": (path.name, path.read_bytes())}
            answers.append(requests.post(f"http://127.0.0.1:{port}/v1/layoutlm/features", files=files, timeout=100))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(1.0)
        assert not answers, "it must be under way when the stop comes"
        process.send_signal(signal.SIGINT)
        asking.join()
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert answers[0].status_code == 200, answers[0].text
    assert len(answers[0].json()["rows"]) == 5
    assert (process.returncode, out) == (0, "")
    assert errors == "stopping: what is under way is answered first\n"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bert", "--task", "featres"], "no task 'featres'"),
        (["bert", "--task", "features", "--checkpoint", "/nowhere"], "no checkpoint /nowhere"),
        (["nothing.yaml"], "nothing.yaml: No such file"),
        (["bert", "--task", "features", "--host", "0.0.0.0"], "no keys are set"),
        (["bert", "--task", "features", "--no-wait"], "name one with --address"),
    ],
)
def test_a_mistake_is_one_line(words, told, tiny, monkeypatch, capsys):
    from jobs import cli

    if "--host" in words:
        words = [*words, "--checkpoint", str(tiny("bert", "features"))]
    monkeypatch.setattr(sys, "argv", ["manta", "serve", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    errors = capsys.readouterr().err
    assert ended.value.code == 2
    assert errors.count("\n") == 1
    assert told in errors
