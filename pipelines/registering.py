"""Own architectures made known to transformers' Auto classes without importing transformers before someone does.

A family's package is read by the registry of families, which must stay quick; ``register`` therefore acts as soon as
both the package and transformers have been imported, whichever comes first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_TRANSFORMERS = "transformers"


def register(model_type: str, *, config: str, tokenizer: str, models: Mapping[str, str]) -> None:
    """Classes, each with its module, for a ``model_type``: its configuration, its fast tokenizer, and its models by
    the name of their Auto class."""

    def now() -> None:
        import transformers as hf

        own = _load(config)
        hf.AutoConfig.register(model_type, own, exist_ok=True)
        hf.AutoTokenizer.register(own, fast_tokenizer_class=_load(tokenizer), exist_ok=True)
        for name, model in models.items():
            getattr(hf, name).register(own, _load(model), exist_ok=True)

    there = sys.modules.get(_TRANSFORMERS)
    if there is not None and not getattr(there.__spec__, "_initializing", False):
        now()
    else:
        sys.meta_path.insert(0, _Watcher(now))


def _load(name: str) -> type:
    module, _, own = name.rpartition(".")
    found = getattr(importlib.import_module(module), own)
    assert isinstance(found, type)
    return found


class _Watcher(MetaPathFinder):
    """Waits for transformers to be imported."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's own spec, whose loader tells us when it is done."""
        if fullname != _TRANSFORMERS:
            return None
        sys.meta_path.remove(self)
        others = (each for each in list(sys.meta_path) if isinstance(each, _Watcher))
        found = (each.find_spec(fullname, path, target) for each in others)  # another family waits as well
        spec = next((each for each in found if each is not None), None) or PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def told(module: ModuleType) -> None:
            execute(module)
            self._call()

        spec.loader.exec_module = told  # type: ignore[method-assign]
        return spec
