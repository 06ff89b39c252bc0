"""What can be set: the keys of the settings dataclasses with their types, defaults and help texts.

A key is ``section.field``, or a bare name for a value that stands in no section (``text``). Help texts are the
docstrings under the fields; Python keeps those in the source only, so they are read from there.
"""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import itertools
import json
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Key:
    """One thing that can be set."""

    name: str
    """As it is written after ``--set``: ``render.dpi``."""
    type: object
    """The field's type, annotations resolved."""
    default: object
    """What holds when nothing is set; ``dataclasses.MISSING`` where something must be."""
    help: str
    """The field's docstring: one line with its unit."""

    @property
    def default_text(self) -> str:
        """The default as it would be written after ``--set``."""
        if self.default is MISSING:
            return ""
        return self.default if isinstance(self.default, str) else json.dumps(self.default, ensure_ascii=False)

    @property
    def type_text(self) -> str:
        """The type for people: ``a whole number``, ``pdfium|poppler``."""
        return type_text(self.type)


Schema: TypeAlias = Mapping[str, type | Key]
"""A section's name to its dataclass, or a bare key."""


def schema_of(kind: type) -> Schema:
    """The schema of a dataclass whose fields are sections (dataclasses) and bare values, such as Settings."""
    hints = typing.get_type_hints(kind)
    bare = {key.name: key for key in _keys(kind)}
    return {name: hint if isinstance(hint, type) and is_dataclass(hint) else bare[name] for name, hint in hints.items()}


def keys(schema: Schema) -> list[Key]:
    """All keys of a schema in the order of their declaration."""
    found: list[Key] = []
    for name, kind in schema.items():
        found += [kind] if isinstance(kind, Key) else [replace(key, name=f"{name}.{key.name}") for key in _keys(kind)]
    return found


def _keys(kind: type) -> list[Key]:
    assert is_dataclass(kind)
    hints, docs = typing.get_type_hints(kind), field_docs(kind)
    found = []
    for one in fields(kind):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        found.append(Key(name=one.name, type=hints[one.name], default=default, help=docs.get(one.name, "")))
    return found


@functools.cache
def field_docs(kind: type) -> Mapping[str, str]:
    """The docstring under each field of a class, those of its base classes included."""
    docs: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if not is_dataclass(cls):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        assert isinstance(tree.body[0], ast.ClassDef)
        docs |= _docs_below(tree.body[0].body)
    return docs


def _docs_below(body: list[ast.stmt]) -> dict[str, str]:
    docs = {}
    for field, below in itertools.pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.replace("``", "`").split())
    return docs


_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}


def type_text(kind: object) -> str:
    """A type for people: ``a whole number``, ``pdfium|poppler``, ``a list``, ``a number or null``."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "|".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(one) for one in args)
    if isinstance(kind, type) and kind in _WORDS:
        return _WORDS[kind]
    return "a mapping" if origin in (dict, Mapping) else "a list"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known key that is most like ``name``; a bare field name is compared with the fields of all sections."""
    names = list(known)
    if "." not in name:
        by_field = {one.rpartition(".")[2]: one for one in reversed(names)}
        close = difflib.get_close_matches(name, by_field, n=1, cutoff=0.7)
        if close:
            return by_field[close[0]]
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
