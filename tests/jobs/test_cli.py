"""``manta``: options to requests, answers to standard output, mistakes to one line and an exit code."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import jobs.batch
import jobs.demo
import jobs.train
from jobs.commands.run import request_for, summary
from jobs.config import Given
from jobs.prepare import Request
from jobs.record import DocumentCounts, RunRecord
from jobs.result import Result
from jobs.train import TrainRecord
from jobs.training.settings import Augment, Train
from pipelines import families, family
from stages.errors import ErrorRateError, StoppedError
from stages.settings import Render, Settings
from tests import corpus


@pytest.fixture
def asked(monkeypatch) -> list[Request]:
    """Requests that ``manta run`` would have run; each ends as a finished run with one error row."""
    requests: list[Request] = []

    def execute(request: Request, progress: object) -> Result:
        requests.append(request)
        record = RunRecord(run_id="r", family=request.family, task="t", status="finished", errors={"corrupt": 1})
        record.exit_code, record.documents = 3, DocumentCounts(listed=2, ok=1, failed=1)
        return Result(record=record, output=request.output, pages_uri=request.output)

    monkeypatch.setattr(jobs.batch, "execute", execute)
    return requests


# ---- a whole run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "in"
    folder.mkdir()
    corpus.pdf(folder / "good.pdf", 2)
    corpus.broken(folder / "bad.pdf")
    return folder


@pytest.mark.usefixtures("ray_local")
def test_run_then_errors_then_view(manta, folder) -> None:
    output = folder.parent / "out"
    words = ("run", "text", "--input", folder, "--output", output, "--text", "layer")
    code, out, err = manta(*words, "--plan", "--json")
    assert code == 0
    assert json.loads(out)["new"] == 2

    code, out, err = manta(*words, "--json")
    record = json.loads(out)
    assert code == record["exit_code"] == 3
    counts = {"listed": 2, "ok": 1, "partial": 0, "failed": 1, "skipped": 0, "removed": 0, "new": 2, "retried": 0}
    assert record["documents"] == counts
    assert record["pages"]["text_layer"] == 2
    assert "error rows: corrupt 1" in err
    assert f"manta view {output}" in err

    code, out, err = manta(*words, "--quiet")
    assert (code, out, err) == (0, "", "")  # the error row is of the first run: nothing was left to do

    code, out, _ = manta("errors", output)
    assert code == 0
    assert "--retry corrupt" in out
    assert json.loads(manta("errors", output, "--json")[1])["errors"][0]["code"] == "corrupt"
    assert manta("errors", output, "--quiet")[1] == "corrupt\t1\n"

    code, out, _ = manta("view", output, "--json", "--limit-pages", 1)
    told = json.loads(out)
    assert code == 0
    assert "bad.pdf" in Path(told["report"]).read_text("utf-8")
    assert told["mlflow_run_id"]  # the report is kept with the run


# ---- options


def test_every_option_reaches_the_request(manta, asked) -> None:
    code, out, err = manta(
        "run", "layoutlm", "--task", "document-question-answering", "--input", "a", "b", "c", "--input", "d",
        "--output", "o", "--checkpoint", "ck", "--set", 'task.questions=["Q?"]', "--set", "render.dpi=200",
        "--map", "question=query.en", "--text", "ocr", "--retry", "crash,corrupt", "--retry", "empty", "--limit", 5,
        "--address", "auto", "--max-error-rate", 0.5, "--pages", "p", "--prune",
    )  # fmt: skip
    assert code == 3, err
    assert out == ""
    request = asked[0]
    options = family("layoutlm").task("document-question-answering").options_type
    assert request.command.startswith("manta ")
    assert replace(request, command="") == Request(
        family="layoutlm",
        task="document-question-answering",
        inputs=("a", "d", "b", "c"),
        output="o",
        checkpoint="ck",
        settings=Settings(render=Render(dpi=200), text="ocr"),
        options=options(questions=("Q?",)),
        columns={"question": "query.en"},
        retry=("crash", "corrupt", "empty"),
        limit=5,
        address="auto",
        max_error_rate=0.5,
        pages="p",
        prune=True,
    )


def test_the_command_line_wins_over_set_and_set_over_the_file(manta, asked, tmp_path) -> None:
    file = tmp_path / "run.yaml"
    run = {"family": "text", "input": ["a"], "output": "o", "limit": 3, "prune": True}
    file.write_text(yaml.safe_dump({"run": run, "text": "layer", "render": {"dpi": 100}, "ocr": {"lang": "deu"}}))
    assert manta("run", "--config", file, "--set", "render.dpi=200", "--set", "run.limit=4", "--output", "p")[0] == 3
    request = asked[0]
    assert (request.family, request.inputs, request.output, request.limit) == ("text", ("a",), "p", 4)
    assert (request.settings.text, request.settings.render.dpi, request.settings.ocr.lang) == ("layer", 200, "deu")
    assert request.prune


def test_errors_may_be_allowed(manta, asked) -> None:
    words = ("run", "text", "--input", "a", "--output", "o")
    assert manta(*words)[0] == 3
    assert manta(*words, "--allow-errors")[0] == 0


def test_a_family_in_the_file_decides_what_the_task_takes() -> None:
    given = {"run.family": Given(value="bert"), "run.task": Given(value="features"), "run.output": Given(value="o")}
    request, _ = request_for(None, ["task.pooling=cls", 'run.input=["a"]'], given)
    assert request.options == family("bert").task("features").options_type(pooling="cls")


def test_every_option_reaches_the_training(manta, monkeypatch) -> None:
    asked = {}

    def train(*words: str, say: object, **named: object) -> TrainRecord:
        asked.update({"words": words, **named})
        return TrainRecord(
            family="bert",
            task="t",
            checkpoint="",
            model="o/model",
            rows=1,
            left_out=0,
            workers=1,
            steps=1,
            loss=0.5,
            metrics={},
        )

    monkeypatch.setattr(jobs.train, "train", train)
    words = (
        "train", "bert", "--task", "text-classification", "--data", "d", "--eval-data", "e", "--output", "o",
        "--checkpoint", "ck", "--workers", 2, "--address", "auto", "--set", "train.epochs=2", "--set", "task.top_k=1",
        "--set", "augment.box_jitter=5", "--resume", "--register", "n", "--push-to-hub", "me/n",
    )  # fmt: skip
    assert manta(*words) == (0, "o/model\n", "")
    assert asked == {
        "words": ("bert", "text-classification", "d", "o"),
        "checkpoint": "ck",
        "encoder": None,
        "decoder": None,
        "eval_data": "e",
        "workers": 2,
        "address": "auto",
        "resume": True,
        "register": "n",
        "push_to_hub": "me/n",
        "settings": Train(epochs=2),
        "augment": Augment(box_jitter=5),
        "options": family("bert").task("text-classification").options_type(top_k=1),
    }
    assert json.loads(manta(*words, "--json")[1])["model"] == "o/model"
    manta(
        "train", "git", "--task", "image-captioning", "--data", "d", "--output", "o", "--encoder", "a", "--decoder", "b"
    )
    assert (asked["checkpoint"], asked["encoder"], asked["decoder"]) == (None, "a", "b")


def test_demo(manta, monkeypatch, tmp_path) -> None:
    def demo(output: Path, *, say) -> int:
        say("1. making invoices")
        (output / "demo.json").write_text('{"f1_scans": 0.95}')
        return 0

    monkeypatch.setattr(jobs.demo, "demo", demo)
    assert manta("demo", "--output", tmp_path) == (0, "", "1. making invoices\n")
    assert manta("demo", "--output", tmp_path, "--json", "-q") == (0, '{"f1_scans": 0.95}\n', "")


# ---- mistakes


MISTAKES = {
    "no family": (["run", "--output", "o"], "which family?"),
    "unknown family": (["run", "brt", "--task", "x", "--output", "o"], "did you mean 'bert'?"),
    "unknown task": (["run", "bert", "--task", "ner", "--output", "o"], "it has: features, masked-lm"),
    "no task": (["run", "bert", "--input", "a", "--output", "o"], "family bert has: features"),
    "no input": (["run", "text", "--output", "o"], "no input"),
    "no output": (["run", "text", "--input", "a"], "no output"),
    "unknown key": (["run", "text", "--output", "o", "--set", "render.dpy=3"], "the nearest is render.dpi"),
    "bad value": (["run", "text", "--output", "o", "--set", "render.dpi=3"], "between 18 and 1200, not 3"),
    "bad map": (["run", "bert", "--output", "o", "--map", "question"], "--map takes column=path"),
    "bad code": (["run", "text", "--input", "a", "--output", "o", "--retry", "nope"], "no code 'nope'"),
    "no such config": (["run", "text", "--config", "/no/such.yaml"], "/no/such.yaml: No such file"),
    "no such output": (["errors", "/no/such/output"], "/no/such/output"),
    "nothing to view": (["view", "/no/such/output"], "/no/such/output"),
    "task of no model": (["run", "text", "--task", "x", "--input", "a", "--output", "o"], "without a model"),
    "train without a family": (["train"], "which family?"),
    "train without a task": (["train", "bert"], "which task?"),
    "train without data": (["train", "bert", "--task", "text-classification", "--output", "o"], "no data"),
    "cannot be trained": (["train", "bert", "--task", "features", "--data", "x", "--output", "o"], "cannot be trained"),
    "train with a wrong setting": (
        ["train", "bert", "--task", "text-classification", "--set", "train.epoch=3"],
        "the nearest is train.epochs",
    ),
    "unknown bench": (["bench", "nope"], "no bench 'nope'"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(manta, words, message) -> None:
    code, out, err = manta(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("manta: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["run", "--inputs", "a"], ["rum"], ["run", "text", "--limit", "many"]])
def test_wrong_usage_is_told_without_a_traceback(manta, words) -> None:
    code, out, err = manta(*words)
    assert (code, out) == (2, "")
    assert "Usage: manta" in err
    assert "Traceback" not in err


def test_a_bug_is_a_traceback_that_says_how_to_report_it(manta, monkeypatch) -> None:
    def execute(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(jobs.batch, "execute", execute)
    code, out, err = manta("run", "text", "--input", "a", "--output", "o")
    assert (code, out) == (1, "")
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("manta: this is a bug in Manta")


@pytest.mark.parametrize(("error", "code"), [(StoppedError("stopped by SIGTERM"), 5), (ErrorRateError("too many"), 4)])
def test_a_run_that_ended_early_still_answers_its_record(manta, monkeypatch, tmp_path, error, code) -> None:
    def execute(request: Request, _: object) -> None:
        record = RunRecord(run_id="r", family="text", task="text", status="stopped", exit_code=error.exit_code)
        Path(request.output, "runs").mkdir()
        Path(request.output, "runs/r.json").write_text(record.to_json())
        raise error

    monkeypatch.setattr(jobs.batch, "execute", execute)
    got, out, err = manta("run", "text", "--input", "a", "--output", tmp_path, "--json")
    assert got == code
    assert json.loads(out)["exit_code"] == code
    assert err == f"manta: {error}\n"


# ---- help and families


def test_help_lists_the_settings_and_the_tasks_own(manta) -> None:
    code, out, err = manta("run", "bert", "--task", "question-answering", "--help")
    assert (code, err) == (0, "")
    assert "render.dpi  (a whole number, default 300)" in out
    assert "resolution at which PDF pages are rendered for OCR, in dots per inch" in out
    assert "task.questions  (a list, default [])" in out
    assert "--max-error-rate" in out
    out = manta("train", "bert", "--task", "text-classification", "--help")[1]
    assert "train.epochs  (a number, default 3.0)" in out
    assert "task.top_k" in out


def test_help_without_a_task_says_where_its_options_are(manta) -> None:
    out = manta("run", "--help")[1]
    assert "ocr.lang" in out
    assert "  task." not in out
    assert "manta run FAMILY --task TASK --help" in out


def test_families(manta) -> None:
    code, out, _ = manta("families")
    assert code == 0
    told = json.loads(manta("families", "--json")[1])
    assert [one["family"] for one in told] == families()
    lines = manta("families", "--quiet")[1].splitlines()
    for name in families():
        for task in family(name).tasks:
            assert f"{name}\t{task.name}" in lines
            assert task.name in out


def test_version(manta) -> None:
    assert manta("--version") == (0, f"{importlib.metadata.version('manta')}\n", "")


def test_every_command_has_json_quiet_and_a_help_line(manta) -> None:
    out = manta("--help")[1]
    names = [
        line.split()[0]
        for line in out.partition("Commands:\n")[2].splitlines()
        if line.startswith("  ") and line[2:3].isalpha()
    ]
    names = names[: names.index("Exit")]
    assert {"run", "train", "view", "demo", "errors", "families", "doctor", "bench"} <= set(names)
    for name in names:
        text = manta(name, "--help")[1]
        assert "--json" in text, name
        assert "--quiet" in text, name


def test_the_summary_names_what_comes_next() -> None:
    record = RunRecord(run_id="r", family="text", task="text", status="finished", seconds=75.0)
    record.documents = DocumentCounts(listed=1200, ok=1200)
    assert summary(record, "out") == (
        "finished in 1 min 15 s: 1,200 documents (1,200 ok, 0 partial, 0 failed, 0 skipped), 0 pages or rows, "
        "0.0 a second\nlook at it: manta view out"
    )


# ---- how light it is


@pytest.mark.parametrize("words", [["--help"], ["families"], ["run", "bert", "--task", "features", "--help"]])
def test_help_and_families_load_nothing_heavy(words) -> None:
    code = (
        "import sys; from jobs import cli\n"
        f"sys.argv = ['manta', *{words!r}]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'torch', 'mlflow', 'transformers', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_program_completes_words(monkeypatch) -> None:
    monkeypatch.setenv("_MANTA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "manta run bert --task quest")
    monkeypatch.setenv("COMP_CWORD", "4")
    program = Path(sys.executable).with_name("manta")
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["question-answering"]
