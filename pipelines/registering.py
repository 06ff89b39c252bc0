"""Own architectures made known to transformers' Auto classes without importing transformers before someone does.

A family's package is read by the registry of families, which must stay quick; ``register`` therefore acts as soon as
both the package and transformers' Auto classes have been imported, whichever comes first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_AUTO = "transformers.models.auto"


def register(model_type: str, *, config: str, tokenizer: str, models: dict[str, str]) -> None:
    """Classes, each with its module, for a ``model_type``: its configuration, its fast tokenizer, and its models by
    the name of their Auto class."""

    def configuration(auto: ModuleType) -> None:
        auto.AutoConfig.register(model_type, _load(config), exist_ok=True)

    def tokenization(auto: ModuleType) -> None:
        importlib.import_module(f"{_AUTO}.configuration_auto")
        auto.AutoTokenizer.register(_load(config), fast_tokenizer_class=_load(tokenizer), exist_ok=True)

    def modeling(auto: ModuleType) -> None:
        importlib.import_module(f"{_AUTO}.configuration_auto")
        for name, model in models.items():
            getattr(auto, name).register(_load(config), _load(model), exist_ok=True)

    _after(f"{_AUTO}.configuration_auto", configuration)
    _after(f"{_AUTO}.tokenization_auto", tokenization)
    _after(f"{_AUTO}.modeling_auto", modeling)


def _load(name: str) -> type:
    module, _, own = name.rpartition(".")
    found = getattr(importlib.import_module(module), own)
    assert isinstance(found, type)
    return found


def _after(module: str, call: Callable[[ModuleType], None]) -> None:
    """Calls with the module: now where it has been imported, else right after it is."""
    there = sys.modules.get(module)
    if there is not None and not getattr(there.__spec__, "_initializing", False):
        call(there)
    else:
        sys.meta_path.insert(0, _Watcher(module, call))


class _Watcher(MetaPathFinder):
    """Waits for one module to be imported."""

    def __init__(self, module: str, call: Callable[[ModuleType], None]) -> None:
        self._module, self._call = module, call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, whose loader tells us when it is done."""
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = _next(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def told(module: ModuleType) -> None:
            execute(module)
            self._call(module)

        spec.loader.exec_module = told  # type: ignore[method-assign]
        return spec


def _next(fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """What the other finders say: another family's watcher may wait for the same module."""
    for finder in sys.meta_path:
        if isinstance(finder, _Watcher) and (spec := finder.find_spec(fullname, path, target)) is not None:
            return spec
    return PathFinder.find_spec(fullname, path, target)
