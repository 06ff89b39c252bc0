"""Settings from a YAML file and from ``--set section.key=value``, checked against the dataclasses that declare them.

    given = read_file("run.yaml") | read_sets(["render.dpi=200"])      # later ones win
    config = fill({"render": Render, "task": QuestionOptions}, given)  # {"render": Render(dpi=200), …}

All problems of a configuration are told at once, in one line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from jobs.schema import Key, Schema, keys, nearest, schema_of
from pipelines import Options
from stages.errors import UsageError
from stages.settings import Settings

OptionsT = TypeVar("OptionsT", bound=Options)
_DEPTH = 2  # section.field; what lies deeper is the field's value


@dataclass(frozen=True, kw_only=True)
class Given:
    """One value that a person gave."""

    value: object
    """As YAML reads it; as text from ``--set``."""
    text: bool = False
    """It came as text and may be written as JSON."""


class _Problems(list[str]):
    """What is wrong so far."""

    def raise_any(self) -> None:
        if self:
            raise UsageError("; ".join(self))


# ---- reading


def read_sets(sets: Iterable[str]) -> dict[str, Given]:
    """``section.key=value`` pairs; the last of several for one key holds."""
    given: dict[str, Given] = {}
    problems = _Problems()
    for one in sets:
        name, equals, value = one.partition("=")
        if equals and name.strip():
            given[name.strip()] = Given(value=value, text=True)
        else:
            problems.append(f"--set takes key=value, such as --set render.dpi=200, not {one!r}")
    problems.raise_any()
    return given


def read_file(path: str) -> dict[str, Given]:
    """A YAML file of sections. Raises UsageError where it cannot be read or is no mapping."""
    return read_tree(load_yaml(path, called=f"--config {path}"))


def load_yaml(path: str, *, called: str) -> dict[str, object]:
    """A YAML file that holds a mapping, as it is. Raises UsageError that names the file as ``called``."""
    try:
        tree = yaml.load(Path(path).read_text("utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UsageError(f"{called}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{called} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict | None):
        raise UsageError(f"{called} must hold sections such as render: and task:, not a {type(tree).__name__}")
    return {str(name): value for name, value in (tree or {}).items()}


def read_tree(tree: Mapping[Any, object]) -> dict[str, Given]:
    """Nested sections as keys with dots."""
    return {name: Given(value=value) for name, value in _flat(tree, ())}


def _flat(tree: Mapping[Any, object], path: tuple[str, ...]) -> Iterable[tuple[str, object]]:
    for name, value in tree.items():
        here = (*path, str(name))
        if isinstance(value, Mapping) and len(here) < _DEPTH:
            yield from _flat(value, here)
        elif value is not None or len(here) == _DEPTH:  # an empty section says nothing
            yield ".".join(here), value


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# ---- checking


def fill(schema: Schema, given: Mapping[str, Given]) -> dict[str, object]:
    """An instance of every section of ``schema``, and the bare values that were given.

    Raises UsageError that tells every unknown key with the nearest known one, every value of a wrong type, and every
    value out of its bounds.
    """
    problems = _Problems()
    known = {key.name: key for key in keys(schema)}
    values: dict[str, object] = {}
    for name, one in given.items():
        if name not in known:
            problems.append(_unknown(name, known, schema))
            continue
        try:
            values[name] = convert(known[name].type, one)
        except ValidationError as error:
            problems.append(f"{name} {_why(error, known[name].type_text)}, not {one.value!r}")
    filled = {name: value for name, value in values.items() if name in schema}
    for section, kind in schema.items():
        if isinstance(kind, Key):
            continue
        own = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{section}.")}
        try:
            filled[section] = kind(**own)
        except UsageError as error:
            problems.append(str(error))
    problems.raise_any()
    return filled


def convert(kind: object, given: Given) -> object:
    """A value of type ``kind``. Raises pydantic's ValidationError.

    A value from a file must have its type (an ``int`` may stand for a ``float``). Text is taken as it stands where
    the type can be written so, else as JSON.
    """
    adapter = TypeAdapter(cast("type[object]", kind))
    if not given.text:
        return adapter.validate_json(json.dumps(given.value, default=str), strict=True)
    assert isinstance(given.value, str)
    try:
        return adapter.validate_strings(given.value)
    except ValidationError as plain:
        try:
            return adapter.validate_json(given.value, strict=True)
        except ValidationError as error:
            raise (plain if error.errors()[0]["type"] == "json_invalid" else error) from None


def _unknown(name: str, known: Mapping[str, object], schema: Schema) -> str:
    section, dot, _ = name.partition(".")
    if dot and section == "task" and "task" not in schema:
        return f"{name} belongs to a task, and none is named"
    if name in schema:
        return f"{name} is a section: give it as {name}: with its keys below, or as {nearest(name, known)}=…"
    return f"no key {name!r}: the nearest is {nearest(name, known)}"


def _why(error: ValidationError, expected: str) -> str:
    if expected == "a list":
        return 'must be a list in JSON, such as \'["…", "…"]\'' + _which_item(error)
    return f"must be {'one of ' * ('|' in expected)}{expected}"


def _which_item(error: ValidationError) -> str:
    first = error.errors()[0]
    items = [str(one + 1) for one in first["loc"] if isinstance(one, int)]
    return f" (item {items[0]}: {first['msg']})" if items else ""


# ---- the whole of a run's settings


def build_options(kind: type[OptionsT], given: Mapping[str, object]) -> OptionsT:
    """A task's options from Python values by name. Raises UsageError as ``fill`` does."""
    made = fill({"task": kind}, {f"task.{name}": Given(value=value) for name, value in given.items()})["task"]
    assert isinstance(made, kind)
    return made


SETTINGS: Schema = schema_of(Settings)
"""The sections of Settings, and ``text``."""


def settings_of(filled: Mapping[str, object]) -> Settings:
    """The settings among what ``fill`` made from SETTINGS and other sections."""
    return Settings(**{name: filled[name] for name in SETTINGS if name in filled})  # type: ignore[arg-type]


def as_tree(settings: object) -> dict[str, Any]:
    """Settings or options as plain nested values, as a YAML file would hold them."""
    assert is_dataclass(settings)
    assert not isinstance(settings, type)
    tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return tree
