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


_WAITING: dict[str, Callable[[], None]] = {}


def register(model_type: str, *, config: str, tokenizer: str, models: Mapping[str, str]) -> None:
    """Classes, each with its module, for a ``model_type``: its configuration, its fast tokenizer, and its models by
    the name of their Auto class. Their modules call ``settle`` at their end."""
    modules = {name.rpartition(".")[0] for name in (config, tokenizer, *models.values())}

    def now() -> None:
        if any(_under_way(module) for module in modules):
            return  # one of them imports transformers just now: it will call ``settle``
        _WAITING.pop(model_type, None)
        import transformers as hf

        own = _load(config)
        hf.AutoConfig.register(model_type, own, exist_ok=True)
        hf.AutoTokenizer.register(  # type: ignore[no-untyped-call]
            own, fast_tokenizer_class=_load(tokenizer), exist_ok=True
        )
        for name, model in models.items():
            getattr(hf, name).register(own, _load(model), exist_ok=True)

    _WAITING[model_type] = now
    if _TRANSFORMERS in sys.modules and not _under_way(_TRANSFORMERS):
        now()
    else:
        sys.meta_path.insert(0, _Watcher(now))


def settle(model_type: str, module: str) -> None:
    """The end of ``module``, which holds classes of the model type: they are registered now if they were waited for."""
    there = sys.modules[module].__spec__
    if model_type in _WAITING and there is not None:
        there._initializing = False  # type: ignore[attr-defined]
        _WAITING[model_type]()


def _under_way(module: str) -> bool:
    """Whether the module is being imported."""
    return module in sys.modules and bool(getattr(sys.modules[module].__spec__, "_initializing", False))


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
