"""A configuration is filled from a file and --set, typed, and refused with everything that is wrong in it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.arguments import RunArguments
from jobs.config import SETTINGS, Given, as_tree, build_options, fill, read_file, read_sets, read_tree, settings_of
from jobs.schema import field_docs, keys, type_text
from pipelines import families, family
from pipelines.tasks.asking import QuestionOptions
from stages.errors import UsageError
from stages.settings import Limits, Ocr, Predict, Render, Settings

SCHEMA = {"run": RunArguments, **SETTINGS, "task": QuestionOptions}
NAMES = [key.name for key in keys(SCHEMA)]

counts = st.integers(1, 10**9)
spans = st.floats(0.001, 1e6)
settings = st.builds(
    Settings,
    render=st.builds(
        Render,
        engine=st.sampled_from(["pdfium", "poppler"]),
        dpi=st.integers(18, 1200),
        timeout_s=spans,
        max_pixels=counts,
    ),
    ocr=st.builds(Ocr, engine=st.sampled_from(["tesserocr", "pytesseract"]), lang=st.sampled_from(["eng", "deu+eng"])),
    limits=st.builds(Limits, file_mb=spans, pages=counts),
    predict=st.builds(Predict, dtype=st.sampled_from(["auto", "float32"]), token_budget=counts),
    text=st.sampled_from(["auto", "layer", "ocr"]),
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip)
options = st.builds(
    QuestionOptions,
    questions=st.lists(texts).map(tuple),
    max_answer_len=counts,
    stride=st.none() | st.integers(0, 100),
    handle_impossible_answer=st.booleans(),
)


def as_sets(tree: dict[str, object]) -> list[str]:
    """A tree of settings as a person would write it after --set."""
    flat = {name: one.value for name, one in read_tree(tree).items()}
    return [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in flat.items()]


@given(settings, options)
def test_what_is_written_to_a_file_is_read_again(made: Settings, task: QuestionOptions) -> None:
    tree = yaml.safe_load(yaml.safe_dump({**as_tree(made), "task": as_tree(task)}))
    filled = fill(SCHEMA, read_tree(tree))
    assert settings_of(filled) == made
    assert filled["task"] == task


@given(settings, options)
def test_what_is_written_after_set_is_read_again(made: Settings, task: QuestionOptions) -> None:
    filled = fill(SCHEMA, read_sets(as_sets({**as_tree(made), "task": as_tree(task)})))
    assert settings_of(filled) == made
    assert filled["task"] == task


@given(
    st.text(min_size=1).filter(lambda name: name.strip() and "=" not in name and name.strip() not in {*NAMES, *SCHEMA})
)
def test_an_unknown_key_is_named_with_a_known_one(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        fill(SCHEMA, read_sets([f"{name}=1"]))
    assert repr(name.strip()) in str(caught.value)
    assert any(f"nearest is {known}" in str(caught.value) for known in NAMES)


@given(st.sampled_from(NAMES), st.randoms(use_true_random=False))
def test_a_misspelt_key_finds_the_key_that_was_meant(name: str, random) -> None:
    section, dot, field = name.rpartition(".")
    if len(field) < 5:
        return
    at = random.randrange(1, len(field))
    with pytest.raises(UsageError, match="no key") as caught:
        fill(SCHEMA, read_sets([f"{section}{dot}{field[:at]}{field[at + 1 :]}x=1"]))
    near = str(caught.value).split("nearest is ")[1]
    assert near == name or near.split(".")[-1].startswith(field[:2])


def test_all_problems_are_told_at_once() -> None:
    wrong = ["dpi=200", "render.dpi=high", "limits.pages=-1", "task.questions=What?", "predict.dtype=int8", "ocr=deu"]
    with pytest.raises(UsageError) as caught:
        fill(SCHEMA, read_sets(wrong))
    message = str(caught.value)
    assert "no key 'dpi': the nearest is render.dpi" in message
    assert "render.dpi must be a whole number, not 'high'" in message
    assert "limits.pages must be above 0, not -1" in message
    assert "task.questions must be a list in JSON" in message
    assert "predict.dtype must be one of auto|float32|bfloat16|float16, not 'int8'" in message
    assert "ocr is a section" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ({"render": {"dpi": "300"}}, "render.dpi must be a whole number, not '300'"),
        ({"render": {"dpi": True}}, "render.dpi must be a whole number, not True"),
        ({"ocr": {"lang": False}}, "ocr.lang must be text, not False"),
        ({"limits": 5}, "limits is a section"),
        ({"task": {"questions": ["a", 3]}}, 'task.questions must be a list in JSON, such as \'["…", "…"]\' (item 2'),
        ({"run": {"map": ["question=q"]}}, "run.map must be a mapping"),
    ],
)
def test_a_file_is_typed_strictly(tree: dict[object, object], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        fill(SCHEMA, read_tree(tree))
    assert problem in str(caught.value)


def test_a_whole_number_may_stand_for_a_number_and_an_empty_section_for_nothing() -> None:
    filled = fill(SCHEMA, read_tree({"render": {"timeout_s": 3}, "ocr": None}))
    assert filled["render"] == Render(timeout_s=3.0)
    assert filled["ocr"] == Ocr()


def test_later_values_win(tmp_path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("render: {dpi: 200, engine: poppler}\nrun: {map: {question: query.en}, input: [a, b]}\n")
    told = {"run.input": Given(value=["c"])}
    filled = fill(SCHEMA, {**read_file(str(file)), **read_sets(["render.dpi=100", "render.dpi=150"]), **told})
    assert filled["render"] == Render(dpi=150, engine="poppler")
    assert filled["run"] == RunArguments(map={"question": "query.en"}, input=("c",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("render: {dpi: 200, dpi: 300}", "'dpi' stands twice"),
        ("render: [", "is no YAML"),
        ("- render", "must hold sections"),
        ("!!python/object/apply:os.getcwd []", "is no YAML"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text: str, problem: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=problem):
        read_file(str(file))


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_file(str(tmp_path / "no.yaml"))


@pytest.mark.parametrize("one", ["render.dpi", "=3", " =3"])
def test_set_takes_pairs(one: str) -> None:
    with pytest.raises(UsageError, match="--set takes key=value"):
        read_sets([one])


def test_options_without_a_task() -> None:
    with pytest.raises(UsageError, match=r"task\.top_k belongs to a task, and none is named"):
        fill(SETTINGS, read_sets(["task.top_k=3"]))


def test_options_from_python() -> None:
    assert build_options(QuestionOptions, {"questions": ["a"]}) == QuestionOptions(questions=("a",))
    with pytest.raises(UsageError, match=r"no key 'task.question': the nearest is task.questions"):
        build_options(QuestionOptions, {"question": "a"})


def declared() -> list[type]:
    found = {task.options_type for name in families() for task in family(name).tasks}
    return [Render, Ocr, Limits, Predict, Settings, RunArguments, *sorted(found, key=lambda kind: kind.__name__)]


@pytest.mark.parametrize("kind", declared())
def test_every_setting_has_a_help_text(kind: type) -> None:
    docs = field_docs(kind)
    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(field.default_factory):
            assert docs.get(field.name), field.name


@pytest.mark.parametrize("kind", declared())
def test_every_default_can_be_written_down(kind: type) -> None:
    """What the help shows as a default gives the default."""
    for key in keys({"section": kind}):
        if not dataclasses.is_dataclass(key.type) and key.default_text:
            filled = fill({"section": kind}, read_sets([f"{key.name}={key.default_text}"]))["section"]
            assert getattr(filled, key.name.partition(".")[2]) == key.default or key.default is None


def test_types_for_people() -> None:
    assert type_text(int | None) == "a whole number or null"
    assert type_text(tuple[str, ...]) == "a list"
    assert type_text(dict[str, str]) == "a mapping"
