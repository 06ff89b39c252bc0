"""``manta submit`` against a real head with token authentication: what arrives, what comes back, who sees what."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import requests

from jobs import ray_jobs
from jobs.commands.submit import check
from jobs.packing import packed
from jobs.ray_jobs import Cluster
from jobs.sealed import HOOK, NAME, seal
from jobs.stopping import Stopping
from stages.errors import MantaError, UsageError
from tests import corpus
from tests.conftest import SCRATCH
from tests.jobs import heads
from tests.jobs.heads import Head

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-the-person-who-submits"


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with heads.running(SCRATCH / "h") as found:
        yield found


def submitting(head: Head, *words: object) -> subprocess.Popen[str]:
    """``manta submit`` in a process of its own, from a folder without Manta."""
    env = {**os.environ, "RAY_AUTH_TOKEN": head.token, "PYTHONPATH": str(ROOT), "HF_TOKEN": SECRET}
    env.pop("RAY_AUTH_MODE")
    command = [sys.executable, "-m", "jobs.cli", "submit", "--address", head.url, "--python", sys.executable]
    return subprocess.Popen(
        [*command, *map(str, words)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=SCRATCH
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def scraped(head: Head) -> list[str]:
    """The metrics of Manta that the head's machine exports."""
    return [line for line in requests.get(head.metrics, timeout=10).text.splitlines() if line.startswith("ray_manta")]


# ---- on a cluster


def test_a_run_is_sent_and_its_exit_code_comes_back(head, tmp_path) -> None:
    files, output = tmp_path / "in", tmp_path / "out"
    files.mkdir()
    corpus.pdf(files / "good.pdf", 2)
    (tmp_path / "settings.yaml").write_text("text: layer\n")
    run = ("run", "text", "--input", files, "--output", output, "--config", tmp_path / "settings.yaml")

    code, out, err = ended(submitting(head, "--json", "--env", "HF_TOKEN", "--", *run))
    assert code == 0, err
    told = json.loads(out)
    assert (told["status"], told["exit_code"], told["address"]) == ("SUCCEEDED", 0, head.url)
    assert f"job {told['submission_id']} sent to {head.url}" in err
    assert "1 documents (1 ok" in err  # the job's own words
    records = [json.loads(path.read_text()) for path in (output / "runs").glob("*.json")]
    assert [record["status"] for record in records] == ["finished"]
    assert records[0]["command"].startswith("manta run --address auto text --input")

    corpus.broken(files / "bad.pdf")
    code, out, err = ended(submitting(head, "--no-wait", "--submission-id", "again", "--", *run))
    assert (code, out) == (0, "again\n")
    # The name of a job that is there: followed, not sent again.
    code, out, err = ended(submitting(head, "--quiet", "--submission-id", "again", "--", *run))
    assert (code, out, err) == (3, "", "manta: job again failed with exit code 3\n")
    assert len(list((output / "runs").glob("*.json"))) == 2

    for line in ("ray_manta_pages_total{", "ray_manta_error_rows_total{", "ray_manta_stage_seconds_total{"):
        assert [one for one in scraped(head) if one.startswith(line) and 'family="text"' in one], line

    for name, content in head.logs().items():
        assert head.token.encode() not in content, name
        assert SECRET.encode() not in content, name
    assert any(b"good.pdf" in content or b"1 ok" in content for content in head.logs().values())  # they are the logs


SHOW = """
import hashlib, os, ray, jobs
from jobs.sealed import unseal_environment
unseal_environment()  # as manta does first
ray.init("auto", log_to_driver=False)
digest = lambda: (hashlib.sha256(os.environ["HF_TOKEN"].encode()).hexdigest(), os.environ.get("MANTA_SEALED"))
print("DRIVER", *digest(), jobs.__file__)
print("WORKER", *ray.get(ray.remote(digest).remote()))
"""


def test_sealed_values_reach_driver_and_workers_and_no_table(head, monkeypatch) -> None:
    import hashlib

    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    cluster, said = Cluster.connect(head.url), []
    sealed = seal({"HF_TOKEN": SECRET}, head.token)
    with packed(["run"], code=True) as package:
        cluster.send(
            shlex.join([sys.executable, "-c", SHOW]),
            submission_id="show",
            working_dir=str(package.folder),
            env_vars={NAME: sealed},
            hook=HOOK,
        )
    assert cluster.follow("show", said.append, Stopping()).exit_code == 0, "".join(said)
    lines = {
        line.split()[0]: line.split()[1:] for line in "".join(said).splitlines() if line[:6] in ("DRIVER", "WORKER")
    }
    expected = hashlib.sha256(SECRET.encode()).hexdigest()
    assert lines["DRIVER"][:2] == [expected, "None"]
    assert "runtime_resources" in lines["DRIVER"][2]  # the code that was sent, not what is installed
    assert lines["WORKER"] == [expected, "None"]
    assert SECRET not in str(cluster._client.get_job_info("show"))
    assert any(
        sealed.encode() in content for content in head.logs().values()
    )  # Ray logs the environment: so it is sealed
    assert not any(SECRET.encode() in content for content in head.logs().values())


def test_ctrl_c_stops_the_job_which_commits_what_is_finished(head, tmp_path) -> None:
    files, output = tmp_path / "in", tmp_path / "out"
    files.mkdir()
    corpus.scan(files / "0.png")
    for i in range(1, 60):
        shutil.copyfile(files / "0.png", files / f"{i}.png")
    process = submitting(
        head, "--stop-on-interrupt", "--", "run", "text", "--input", files, "--output", output, "--text", "ocr"
    )
    give_up = time.monotonic() + 120
    while not list(output.glob("pages/*.parquet")):
        assert time.monotonic() < give_up
        assert process.poll() is None, process.stderr
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 5, err
    record = json.loads(next((output / "runs").glob("*.json")).read_text())
    assert (record["status"], record["exit_code"]) == ("stopped", 5)
    assert record["documents"]["ok"] < 60


def test_without_or_with_a_wrong_token_one_line_says_so(head, manta, monkeypatch) -> None:
    words = ("submit", "--address", head.url, "--", "run", "text", "--input", "s3://in/", "--output", "s3://out/")
    assert manta(*words) == (
        2, "", f"manta: {head.url} wants a token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with it\n",
    )  # fmt: skip
    monkeypatch.setenv("RAY_AUTH_TOKEN", "not-the-token")
    code, out, err = manta(*words)
    assert (code, out) == (2, "")
    assert (
        err == f"manta: {head.url} refuses the token: set RAY_AUTH_TOKEN to the one that the cluster was started with\n"
    )
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/no/such/token")
    assert manta(*words)[2] == "manta: RAY_AUTH_TOKEN_PATH: no token can be read from /no/such/token\n"


# ---- servers that are no good


class _Answers(BaseHTTPRequestHandler):
    """An open cluster's head that has no agent yet, for as many requests as ``refusals`` says."""

    refusals = 0
    asked: ClassVar[list[tuple[str, dict[str, object], dict[str, str]]]]

    def do_GET(self) -> None:
        self._answer(200, {"ray_version": "2.60.0"} if self.path == "/api/version" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body, dict(self.headers)))
        if len(self.asked) <= self.refusals:
            self._answer(500, "No available agent to submit job, please try again later.")
        else:
            self._answer(200, {"job_id": "j", "submission_id": body["submission_id"]})

    def _answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Answers]]]:
    handler = type("Handler", (_Answers,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_address[1]}", handler
        one.shutdown()


def test_a_head_that_is_still_coming_up_is_waited_for(server, monkeypatch) -> None:
    url, handler = server
    handler.refusals = 1
    monkeypatch.setenv("RAY_AUTH_TOKEN", "nobody-asked-for-it")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # Ray's client would take this one
    cluster = Cluster.connect(url)
    assert cluster.send("true", submission_id="x", working_dir=None, env_vars={}, hook=None)
    assert [(path, body["submission_id"]) for path, body, _ in handler.asked] == [("/api/jobs/", "x")] * 2
    assert not any("nobody-asked" in str(headers) for _, _, headers in handler.asked)
    handler.refusals = 10
    with pytest.raises(MantaError, match="has no agent to start jobs, for 0 s now"):
        cluster.send("true", submission_id="y", working_dir=None, env_vars={}, hook=None, wait_s=0)


class _Breaking:
    """A cluster whose connections break: the log's once, all others always."""

    def __init__(self) -> None:
        self.logs = iter([["one\n", "tw", None], ["one\n", "two\nthr", "ee\n"]])

    async def tail_job_logs(self, _: str):
        for chunk in next(self.logs):
            if chunk is None:
                raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")
            yield chunk

    def get_job_info(self, _: str) -> None:
        raise requests.ConnectionError("Connection refused")


def test_a_log_goes_on_where_its_connection_broke() -> None:
    said: list[str] = []
    log = ray_jobs._Log(_Breaking(), "j", said.append)
    log.start()
    log.join(20)
    assert "".join(said) == "one\ntwo\nthree\n"


def test_a_cluster_that_stays_away_ends_the_watching(monkeypatch) -> None:
    monkeypatch.setattr(ray_jobs, "_AWAY_S", 0.5)
    with pytest.raises(MantaError, match=r"http://head is out of reach .*; the job j may still run") as told:
        Cluster(_Breaking(), "http://head", "2.60.0", "").follow("j", None, Stopping())
    assert told.value.exit_code == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:9", "no Ray dashboard answers at http://127.0.0.1:9"),
        ("127.0.0.1:8265", "takes the URL of a cluster's dashboard"),
        ("ftp://head", "takes the URL of a cluster's dashboard"),
        ("http://me:password@head:8265", "holds a password or a token"),
        ("http://head:8265/?token=x", "holds a password or a token"),
    ],
)
def test_a_wrong_address_is_one_line(manta, address, message) -> None:
    code, out, err = manta("submit", "--address", address, "run", "text", "--input", "/in", "--output", "/out")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "password@" not in err


def test_a_server_that_is_no_ray_is_told(manta, server) -> None:
    url, handler = server
    handler.do_GET = lambda self: self._answer(404, "nothing here")
    code, _, err = manta("submit", "--address", url, "run", "text", "--input", "/in", "--output", "/out")
    assert code == 2
    assert err == f"manta: {url} is no Ray dashboard (HTTP 404); its port is 8265, unless it was started so\n"


def test_secrets_do_not_go_to_a_cluster_without_a_token(manta, server, monkeypatch) -> None:
    url, handler = server
    monkeypatch.setenv("HF_TOKEN", SECRET)
    words = ("--env", "HF_TOKEN", "run", "text", "--input", "/in", "--output", "/out")
    code, _, err = manta("submit", "--address", url, *words)
    assert code == 2
    assert "asks for no token, so anyone could read HF_TOKEN there" in err
    assert handler.asked == []


# ---- what is checked here


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "sends run and train"),
        (["view", "out"], "sends run and train, not view"),
        (["run", "text", "--address", "auto"], "leave out --address"),
        (["run", "text", "--help"], "without a cluster"),
        (["run", "text", "--input", "in", "--output", "/out"], "--input in is a place on this machine"),
        (["run", "text", "--input", "/in", "more", "--output", "/out"], "--input more is a place on this machine"),
        (["run", "text", "--input", "s3://in", "--output", "out"], "--output out is a place on this machine"),
        (["run", "text", "--set", "run.output=out"], "run.output: out is a place on this machine"),
        (["train", "bert", "--data", "rows.parquet"], "--data rows.parquet is a place on this machine"),
        (["run", "bert", "--checkpoint", "tests"], "--checkpoint tests is a place on this machine"),
        (["run", "text", "--config", "/no/such.yaml"], "/no/such.yaml: No such file"),
    ],
)
def test_a_command_that_cannot_work_there_is_not_sent(words, message, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match=message):
        check(words)


def test_places_of_a_config_file_are_checked(tmp_path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("run: {family: text, input: [s3://in/, scans], output: /shared/out}\n")
    with pytest.raises(UsageError, match=r"run\.input: scans is a place on this machine"):
        check(["run", "--config", str(config)])
    check(["run", "--config", str(config), "--input", "/shared/scans", "--checkpoint", "org/name"])


def test_wrong_options_of_the_sent_command_are_told_here(manta) -> None:
    code, out, err = manta("submit", "--", "run", "text", "--imput", "a")
    assert (code, out) == (2, "")
    assert "No such option: --imput" in err


def test_the_package_holds_the_code_and_the_config_and_nothing_else(tmp_path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("text: layer\n")
    with packed(["run", "text", "--config", str(config), "--input", "/in"], code=True) as package:
        assert package.words == ("run", "text", "--config", "config.yaml", "--input", "/in")
        sent = {path.relative_to(package.folder) for path in package.folder.rglob("*") if path.is_file()}
        assert (package.folder / "config.yaml").read_text() == "text: layer\n"
        size = sum((package.folder / path).stat().st_size for path in sent)
    assert {path.parts[0] for path in sent} == {"stages", "pipelines", "jobs", "config.yaml"}
    assert {Path("jobs/cli.py"), Path("jobs/report/report.css"), Path("stages/base.py")} <= sent
    assert not any("__pycache__" in path.parts or path.suffix == ".png" for path in sent)
    assert size < 2_000_000
    with packed(["run", f"--config={config}"], code=False) as package:
        assert package.words == ("run", "--config=config.yaml")
        assert [path.name for path in package.folder.iterdir()] == ["config.yaml"]
    with packed(["run", "--config", "/on/the/cluster.yaml"], code=False) as package:
        assert (package.folder, package.words) == (None, ("run", "--config", "/on/the/cluster.yaml"))


def test_too_large_a_config_is_refused(tmp_path) -> None:
    config = tmp_path / "data.yaml"
    config.write_bytes(b"#" * 21_000_000)
    with (
        pytest.raises(UsageError, match="21 MB would travel with the job, 20 MB may"),
        packed(["run", "--config", str(config)], code=False),
    ):
        pass
