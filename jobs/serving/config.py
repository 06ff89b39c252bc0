"""A config file, or a family and ``--set`` pairs, to a ServeConfig. Everything that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import pipelines
from jobs.config import Given, fill, load_yaml, read_sets, read_tree
from jobs.schema import Key, Schema, nearest, schema_of
from jobs.serving.settings import Documents, Endpoint, Model, ModelConfig, Sections, ServeConfig
from pipelines import Options
from stages.errors import UsageError
from stages.settings import Ocr, Predict, Render

SECTIONS: Schema = schema_of(Sections)


def read_config(path: str, sets: Sequence[str] = (), told: Mapping[str, Given] | None = None) -> ServeConfig:
    """The endpoint that a YAML file describes; ``sets`` and ``told`` win over its sections. Raises UsageError."""
    tree = load_yaml(path, called=path)
    entries = tree.pop("models", None)
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{path} names no models: list them under models:, each with family: and task:")
    problems: list[str] = []
    sections, models = Sections(), []
    try:
        sections = _sections(fill(SECTIONS, {**read_tree(tree), **read_sets(sets), **(told or {})}))
    except UsageError as error:
        problems.append(str(error))
    for number, entry in enumerate(entries, 1):
        try:
            models.append(_entry(entry))
        except UsageError as error:
            problems.append(f"models, number {number}: {error}")
    if problems:
        raise UsageError("; ".join(problems))
    return checked(ServeConfig(sections=sections, models=tuple(models)))


def for_family(family: str, task: str, sets: Sequence[str], told: Mapping[str, Given]) -> ServeConfig:
    """The endpoint of one task; settings are those of a config file, and of ``model``, ``predict`` and ``task``."""
    kind = pipelines.task(family, task)
    schema: dict[str, type | Key] = {**SECTIONS, "model": Model, "predict": Predict, "task": kind.options_type}
    named = {"model.family": Given(value=family), "model.task": Given(value=task)}
    filled = fill(schema, {**read_sets(sets), **told, **named})
    return checked(ServeConfig(sections=_sections(filled), models=(_model(filled, filled["task"]),)))


def checked(config: ServeConfig) -> ServeConfig:
    """The config as it is. Raises UsageError where its models do not go together."""
    names = [one.model.called for one in config.models]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two models are called {name}: give one another name:")
    hosts = {one.model.called for one in config.models if not one.model.beside}
    for one in config.models:
        if one.model.beside and one.model.beside not in hosts:
            raise UsageError(
                f"{one.model.called} cannot run beside {one.model.beside!r}: that must be a model with processes of "
                f"its own; there are: {', '.join(sorted(hosts)) or 'none'}"
            )
    return config


def _entry(entry: object) -> ModelConfig:
    """One item of ``models``: the keys of Model, and the sections ``predict`` and ``options``."""
    if not isinstance(entry, Mapping):
        raise UsageError(f"must be a mapping with family: and task:, not {entry!r}")
    given: dict[str, Given] = {}
    for key, value in entry.items():
        if key in ("predict", "options") and isinstance(value, Mapping):
            given |= {f"{key}.{name}": Given(value=one) for name, one in value.items()}
        else:
            given[f"model.{key}"] = Given(value=value)
    known = [one.name for one in fields(Model)] + ["predict", "options"]
    for key in entry:
        if key not in known:
            raise UsageError(f"no key {key!r}: the nearest is {nearest(str(key), known)}")
    family, task = (given.get(f"model.{name}") for name in ("family", "task"))
    if family is None or task is None:
        raise UsageError(f"has no {'family' if family is None else 'task'}: see manta families")
    kind = pipelines.task(str(family.value), str(task.value))
    return _model(*_filled({"model": Model, "predict": Predict, "options": kind.options_type}, given))


def _filled(schema: Schema, given: Mapping[str, Given]) -> tuple[Mapping[str, object], object]:
    filled = fill(schema, given)
    return filled, filled["options"]


def _model(filled: Mapping[str, object], options: object) -> ModelConfig:
    model, predict = filled["model"], filled["predict"]
    assert isinstance(model, Model)
    assert isinstance(predict, Predict)
    assert isinstance(options, Options)
    return ModelConfig(model=model, predict=predict, options=options)


def _sections(filled: Mapping[str, object]) -> Sections:
    serve, documents, render, ocr = (filled[name] for name in ("serve", "documents", "render", "ocr"))
    assert isinstance(serve, Endpoint)
    assert isinstance(documents, Documents)
    assert isinstance(render, Render)
    assert isinstance(ocr, Ocr)
    text = filled.get("text", "auto")
    return Sections(serve=serve, documents=documents, render=render, ocr=ocr, text=text)  # type: ignore[arg-type]
